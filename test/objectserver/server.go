package objectserver

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The keys that the server accepts, and where it is.
const (
	AccessKey = "AKOBJECTSERVER"
	SecretKey = "secret-of-the-object-server"
	Bucket    = "bundles"
	Region    = "us-east-1"
)

// Server is the store. Its fields are to be set before the first request, but for those that a method sets.
type Server struct {
	*httptest.Server

	// What the store is bad at.
	IgnorePutConditions      bool // If-None-Match of a PUT
	IgnoreCompleteConditions bool // If-None-Match of a completion
	UnknownConditions        bool // 501 for a PUT with a condition
	NoAttestation            bool // no checksums in answers
	OpaqueETags              bool // ETags are no MD5s, as with encryption
	UncheckedHashes          bool // the signed SHA-256 is not looked at
	Racy                     bool // the condition of a PUT is looked at early, so that racers all win

	// Before is called with the number of each request, from 1, before it is served.
	Before func(n int, r *http.Request)
	// Deny tells which requests are answered with 403. It is called from many goroutines.
	Deny func(*http.Request) bool
	// Answer replaces the whole store, when it is not nil.
	Answer http.HandlerFunc

	mu       sync.Mutex
	count    int
	faults   map[int]Fault
	objects  map[string]object
	uploads  map[string]*upload
	requests []Request
	sent     int64
	trouble  Trouble
	over     chan struct{} // closed when the trouble is over
	ahead    atomic.Int64  // of the clock of the store
}

// Request is what was asked for.
type Request struct {
	Method, Key, Query string
	Header             http.Header
	Status             int
}

type object struct {
	data      []byte
	modified  time.Time
	etag      string
	composite string // of the parts; "" for one that was put
}

type upload struct {
	key   string
	begun time.Time
	parts map[int]object
}

// New starts a server on loopback. Close ends it.
func New() *Server {
	s := newServer()
	s.Server = httptest.NewServer(http.HandlerFunc(s.handle))
	return s
}

// NewTLS starts one with a certificate that nobody trusts; it is the server's Certificate.
func NewTLS() *Server {
	s := newServer()
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.handle))
	return s
}

// SetClock makes the clock of the store differ from that of the host. It may be called at any time.
func (s *Server) SetClock(ahead time.Duration) { s.ahead.Store(int64(ahead)) }

// Now is the clock of the store.
func (s *Server) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func newServer() *Server {
	return &Server{faults: map[int]Fault{}, objects: map[string]object{}, uploads: map[string]*upload{}}
}

// FailAt makes the n-th request from now on go wrong, from 1.
func (s *Server) FailAt(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[s.count+n] = f
}

// Count returns how many requests there were, and Sent the bytes of objects in answers.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Sent returns the bytes of objects that were sent.
func (s *Server) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Requests returns all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Keys returns the keys of all objects below a prefix, sorted.
func (s *Server) Keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Object returns the bytes of an object, nil where there is none.
func (s *Server) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].data
}

// Set puts an object behind the back of everyone, or takes it away where data is nil.
func (s *Server) Set(key string, data []byte, modified time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		delete(s.objects, key)
		return
	}
	s.objects[key] = s.newObject(data, modified)
}

// IgnoreConditions makes the store ignore all conditions from the next request on.
func (s *Server) IgnoreConditions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.IgnorePutConditions, s.IgnoreCompleteConditions = true, true
}

// Age makes all objects and uploads older.
func (s *Server) Age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, o := range s.objects {
		o.modified = o.modified.Add(-by)
		s.objects[key] = o
	}
	for _, u := range s.uploads {
		u.begun = u.begun.Add(-by)
	}
}

// Uploads returns the keys of uploads that are open.
func (s *Server) Uploads() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, u := range s.uploads {
		keys = append(keys, u.key)
	}
	slices.Sort(keys)
	return keys
}

// DamagePart replaces the bytes of a part of an open upload and leaves its size.
func (s *Server) DamagePart(key string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		if u.key == key {
			u.parts[n] = s.newObject(make([]byte, len(u.parts[n].data)), s.Now())
		}
	}
}

func (s *Server) newObject(data []byte, modified time.Time) object {
	return object{data: data, modified: modified, etag: s.etag(data)}
}

func (s *Server) etag(of []byte) string {
	sum := md5.Sum(of)
	if s.OpaqueETags {
		sum = md5.Sum(append([]byte("secret"), of...))
	}
	return hex.EncodeToString(sum[:])
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count++
	n := s.count
	f, faulty := s.faults[n]
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.requests = append(s.requests, Request{Method: r.Method, Key: key, Query: r.URL.RawQuery, Header: r.Header.Clone()})
	s.mu.Unlock()
	if s.Before != nil {
		s.Before(n, r)
	}
	w.Header().Set("Date", s.Now().UTC().Format(http.TimeFormat))
	switch {
	case s.Deny != nil && s.Deny(r):
		w.WriteHeader(http.StatusForbidden)
	case s.Answer != nil:
		s.Answer(w, r)
	case s.suffers(w, r, key):
	case faulty:
		s.inject(f, w, r)
	default:
		s.serve(w, r)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength > 0 && int64(len(body)) != r.ContentLength {
		refuse(w, http.StatusBadRequest, "IncompleteBody", "the body is not whole")
		return
	}
	if code, ok := s.authorized(r, body); !ok {
		status := http.StatusBadRequest
		if code == "InvalidAccessKeyId" || code == "RequestTimeTooSkewed" {
			status = http.StatusForbidden
		}
		refuse(w, status, code, code)
		return
	}
	if bucket != Bucket {
		refuse(w, http.StatusNotFound, "NoSuchBucket", "the bucket does not exist")
		return
	}
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		s.create(w, key)
	case r.Method == http.MethodPost:
		s.complete(w, r, key, q.Get("uploadId"), body)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		s.putPart(w, key, q, body)
	case r.Method == http.MethodPut:
		s.put(w, r, key, body)
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		s.abort(w, q.Get("uploadId"))
	case r.Method == http.MethodDelete:
		s.remove(w, key)
	case key == "" && q.Has("uploads"):
		s.listUploads(w)
	case key == "":
		s.list(w, q)
	case q.Has("uploadId"):
		s.listParts(w, key, q.Get("uploadId"))
	default:
		s.get(w, r, key)
	}
}

// authorized checks what does not need the secret: the key, the region, the time, and that the body is the signed one.
func (s *Server) authorized(r *http.Request, body []byte) (code string, ok bool) {
	auth := r.Header.Get("Authorization")
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case !strings.Contains(auth, "Credential="+AccessKey+"/"):
		return "InvalidAccessKeyId", false
	case !strings.Contains(auth, "/"+Region+"/s3/aws4_request"):
		return "AuthorizationHeaderMalformed", false
	case err != nil || signed.Sub(s.Now()).Abs() > 15*time.Minute:
		return "RequestTimeTooSkewed", false
	}
	sum := sha256.Sum256(body)
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	if !s.UncheckedHashes && len(body) > 0 && claimed != hex.EncodeToString(sum[:]) {
		return "XAmzContentSHA256Mismatch", false
	}
	if sum := md5.Sum(body); r.Header.Get("Content-Md5") != "" && r.Header.Get("Content-Md5") != base64.StdEncoding.EncodeToString(sum[:]) {
		return "BadDigest", false
	}
	if checksum := r.Header.Get("X-Amz-Checksum-Sha256"); !s.NoAttestation && checksum != "" && checksum != base64.StdEncoding.EncodeToString(sum[:]) {
		return "BadDigest", false
	}
	return "", true
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: message})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(v)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	conditional := r.Header.Get("If-None-Match") == "*"
	if conditional && s.UnknownConditions {
		refuse(w, http.StatusNotImplemented, "NotImplemented", "a header implies functionality that is not implemented")
		return
	}
	conditional = conditional && !s.IgnorePutConditions
	s.mu.Lock()
	_, there := s.objects[key]
	if s.Racy && conditional && !there {
		s.mu.Unlock()
		time.Sleep(50 * time.Millisecond) // racers look before one of them writes
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if conditional && there {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "a precondition did not hold")
		return
	}
	o := s.newObject(body, s.Now())
	s.objects[key] = o
	w.Header().Set("ETag", strconv.Quote(o.etag))
	if !s.NoAttestation && r.Header.Get("X-Amz-Checksum-Sha256") != "" {
		w.Header().Set("X-Amz-Checksum-Sha256", o.checksum())
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	o, there := s.objects[key]
	s.mu.Unlock()
	if !there {
		refuse(w, http.StatusNotFound, "NoSuchKey", "the key does not exist")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != strconv.Quote(o.etag) {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "a precondition did not hold")
		return
	}
	w.Header().Set("ETag", strconv.Quote(o.etag))
	w.Header().Set("Content-Type", "application/octet-stream")
	if !s.NoAttestation && strings.EqualFold(r.Header.Get("X-Amz-Checksum-Mode"), "enabled") && r.Header.Get("Range") == "" {
		w.Header().Set("X-Amz-Checksum-Sha256", o.checksum())
	}
	counted := &countingWriter{ResponseWriter: w}
	http.ServeContent(counted, r, "", o.modified, strings.NewReader(string(o.data)))
	s.mu.Lock()
	s.sent += counted.n
	s.mu.Unlock()
}

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

func (o object) checksum() string {
	if o.composite != "" {
		return o.composite
	}
	sum := sha256.Sum256(o.data)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (s *Server) remove(w http.ResponseWriter, key string) {
	s.mu.Lock()
	delete(s.objects, key)
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) create(w http.ResponseWriter, key string) {
	s.mu.Lock()
	id := fmt.Sprintf("upload-%d", s.count)
	s.uploads[id] = &upload{key: key, begun: s.Now(), parts: map[int]object{}}
	s.mu.Unlock()
	answer(w, struct {
		XMLName     xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
	}{Bucket: Bucket, Key: key, UploadID: id})
}

func (s *Server) putPart(w http.ResponseWriter, key string, q url.Values, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[q.Get("uploadId")]
	n, err := strconv.Atoi(q.Get("partNumber"))
	if u == nil || u.key != key || err != nil {
		refuse(w, http.StatusNotFound, "NoSuchUpload", "the upload does not exist")
		return
	}
	o := s.newObject(body, s.Now())
	u.parts[n] = o
	w.Header().Set("ETag", strconv.Quote(o.etag))
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, key, id string, body []byte) {
	var asked struct {
		Part []struct {
			PartNumber     int
			ETag           string
			ChecksumSHA256 string
		}
	}
	if err := xml.Unmarshal(body, &asked); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.open(w, key, id)
	if u == nil {
		return
	}
	if _, there := s.objects[key]; there && r.Header.Get("If-None-Match") == "*" && !s.IgnoreCompleteConditions {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "a precondition did not hold")
		return
	}
	var data, sums, md5s []byte
	for _, p := range asked.Part {
		part, there := u.parts[p.PartNumber]
		if !there || strings.Trim(p.ETag, `"`) != part.etag || p.ChecksumSHA256 != "" && p.ChecksumSHA256 != part.checksum() {
			refuse(w, http.StatusBadRequest, "InvalidPart", "a part is not there or another one")
			return
		}
		data = append(data, part.data...)
		sum, sum5 := sha256.Sum256(part.data), md5.Sum(part.data)
		sums, md5s = append(sums, sum[:]...), append(md5s, sum5[:]...)
	}
	o := s.newObject(data, s.Now())
	of := sha256.Sum256(sums)
	o.composite = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(of[:]), len(asked.Part))
	o.etag = fmt.Sprintf("%s-%d", s.etag(md5s), len(asked.Part))
	s.objects[key] = o
	delete(s.uploads, id)
	answer(w, struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: Bucket, Key: key, ETag: strconv.Quote(o.etag)})
}

func (s *Server) abort(w http.ResponseWriter, id string) {
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
