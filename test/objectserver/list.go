package objectserver

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type listedObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
}

type listedPrefix struct{ Prefix string }

type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listedObject
	CommonPrefixes        []listedPrefix
}

// list answers a listing of the second version.
func (s *Server) list(w http.ResponseWriter, q url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil || most <= 0 || most > 1000 {
		most = 1000
	}
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	out := listing{Name: Bucket, EncodingType: q.Get("encoding-type")}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		rest, below := strings.CutPrefix(key, q.Get("prefix"))
		if !below || key <= after {
			continue
		}
		prefix := ""
		if d := q.Get("delimiter"); d != "" {
			if i := strings.Index(rest, d); i >= 0 {
				prefix = q.Get("prefix") + rest[:i+len(d)]
			}
		}
		if prefix != "" && (prefix == last || strings.HasPrefix(after, prefix)) {
			continue
		}
		if len(out.Contents)+len(out.CommonPrefixes) == most {
			out.IsTruncated = true
			break
		}
		if prefix != "" {
			out.CommonPrefixes = append(out.CommonPrefixes, listedPrefix{encode(q, prefix)})
			last, out.NextContinuationToken = prefix, prefix+"\xf4\x8f\xbf\xbf"
			continue
		}
		o := s.objects[key]
		out.Contents = append(out.Contents, listedObject{encode(q, key), stamp(o.modified), strconv.Quote(o.etag), len(o.data)})
		out.NextContinuationToken = key
	}
	if !out.IsTruncated {
		out.NextContinuationToken = ""
	}
	answer(w, out)
}

func encode(q url.Values, key string) string {
	if q.Get("encoding-type") == "url" {
		return url.QueryEscape(key)
	}
	return key
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// open returns an upload that was begun for that key; nil when it says that there is none. The caller holds mu.
func (s *Server) open(w http.ResponseWriter, key, id string) *upload {
	u := s.uploads[id]
	if u == nil || u.key != key {
		refuse(w, http.StatusNotFound, "NoSuchUpload", "the upload does not exist")
		return nil
	}
	return u
}

func (s *Server) listParts(w http.ResponseWriter, key, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.open(w, key, id)
	if u == nil {
		return
	}
	type part struct {
		PartNumber         int
		LastModified, ETag string
		Size               int
		ChecksumSHA256     string `xml:",omitempty"`
	}
	out := struct {
		XMLName     xml.Name `xml:"ListPartsResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
		IsTruncated bool
		Part        []part
	}{Bucket: Bucket, Key: key, UploadID: id}
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		o := u.parts[n]
		p := part{PartNumber: n, LastModified: stamp(o.modified), ETag: strconv.Quote(o.etag), Size: len(o.data)}
		if !s.NoAttestation {
			p.ChecksumSHA256 = o.checksum()
		}
		out.Part = append(out.Part, p)
	}
	answer(w, out)
}

func (s *Server) listUploads(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type listed struct {
		Key       string
		UploadID  string `xml:"UploadId"`
		Initiated string
	}
	out := struct {
		XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket      string
		IsTruncated bool
		Upload      []listed
	}{Bucket: Bucket}
	for _, id := range slices.Sorted(maps.Keys(s.uploads)) {
		out.Upload = append(out.Upload, listed{s.uploads[id].key, id, stamp(s.uploads[id].begun)})
	}
	answer(w, out)
}
