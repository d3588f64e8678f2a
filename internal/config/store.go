package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Store is one [[store]]: a bucket of an S3-compatible store that bundles are sent to.
type Store struct {
	Name        string // unique
	Endpoint    string // http or https URL
	Bucket      string
	Prefix      string // without slashes at its ends; "" for the top of the bucket
	Region      string
	Credentials string        // absolute path of a file as AWS tools have it; "" for the usual chain
	Profile     string        // in that file; "" for the usual one
	PathStyle   bool          // the bucket is in the path of URLs, not in the host name
	CAFile      string        // absolute path of certificates in PEM that are trusted, too; "" for none
	PartSize    int64         // bytes of the parts of a large archive
	Parallel    int           // files or parts of them that are sent at the same time
	Rate        int64         // bytes per second that are sent; 0 for no limit
	Stall       time.Duration // without a byte moving, after which a request is given up
	Watches     []string
	Conditional Conditional
	// KeepLocal is how long the local archive stays once the store has the bundle; negative for ever.
	KeepLocal time.Duration
}

// Conditional is what is asked of a store before two hosts may write one name.
type Conditional string

// What may be asked.
const (
	ConditionalRequired Conditional = "required" // a second PUT of a name must be refused
	ConditionalNone     Conditional = "none"     // conflicts are detected, not prevented
)

// UnmarshalText accepts the names of what may be asked.
func (c *Conditional) UnmarshalText(text []byte) error {
	return choose(c, text, ConditionalRequired, ConditionalNone)
}

// kindS3 is the only kind of store.
type storeKind string

func (k *storeKind) UnmarshalText(text []byte) error { return choose(k, text, storeKind("s3")) }

// keepForever is the default of keep_local.
const keepForever = "forever"

var storeTable = tableDoc{
	header: "[[store]]",
	meaning: "A bucket that bundles are sent to after they were published locally, by any number of hosts: [stores](store.md). The local bundle is " +
		"there first, and a store that is down delays nothing. Write one `[[store]]` for each bucket.",
	keys: []keyDoc{
		{name: "name", kind: "string", required: true, meaning: "What the store is called in `s3://name/…`, in logs, status and metrics. Letters, digits, `.`, `_` and `-`, a letter or digit first."},
		{name: "kind", kind: "string", initial: "s3", meaning: "`\"s3\"`: any store that speaks S3."},
		{name: "endpoint", kind: "URL", required: true, meaning: "Where the store is, such as `\"https://s3.eu-central-1.amazonaws.com\"` or `\"http://127.0.0.1:9000\"`. No path and no credentials."},
		{name: "bucket", kind: "string", required: true, meaning: "The bucket, which must exist."},
		{name: "prefix", kind: "string", meaning: "A folder in the bucket below which everything is. All hosts that share bundles have the same."},
		{name: "region", kind: "string", initial: "us-east-1", meaning: "The region of the bucket. It is never looked up."},
		{
			name: "credentials", kind: "path",
			meaning: "A file with credentials as the AWS tools have it (`[default]`, `aws_access_key_id`, `aws_secret_access_key`, or `credential_process`). " +
				"Without it the usual chain is asked: environment, shared files, web identity, role of the container or the instance. There are no keys in this file.",
		},
		{name: "profile", kind: "string", meaning: "The section of the file of credentials. Without it `$AWS_PROFILE`, or `default`."},
		{name: "path_style", kind: "boolean", meaning: "Whether the bucket is the first part of the path of a URL, not of the host name. Without it: everywhere but at `amazonaws.com`."},
		{name: "ca_file", kind: "path", meaning: "Certificates in PEM of authorities that are trusted beside those of the system."},
		{
			name: "part_size", kind: "size", initial: "64MiB",
			meaning: "What is larger is sent in parts of so many bytes, from `\"5MiB\"` to `\"5GiB\"`; more where there would be over 10,000. The same on all hosts, so that they know each other's uploads without reading them.",
		},
		{name: "parallel", kind: "integer", initial: "8", meaning: "How many files or parts of them are sent at the same time, of as many bundles at most. From 1 to 64."},
		{name: "rate", kind: "size", initial: "0", meaning: "How many bytes are sent in a second, such as `\"50MiB\"`. `\"0\"` is no limit."},
		{name: "stall", kind: "duration", initial: "2m", meaning: "How long nothing may move in a request before it is given up and made again."},
		{name: "watches", kind: "array of strings", meaning: "Names of the watches whose bundles go there. Without it all."},
		{
			name: "conditional", kind: "string", initial: "required",
			meaning: "`\"required\"` refuses a store that lets a second PUT replace a name. `\"none\"` accepts it: two hosts with different bundles of one key then find out, but nothing prevents it.",
		},
		{
			name: "keep_local", kind: "duration", initial: keepForever,
			meaning: "How long after its publication the local archive stays when the store is proved to have it, such as `\"72h\"`; the manifest stays. `\"forever\"` leaves that to `[retention]`. " +
				"With more stores the archive stays until each of those for its watch has it and would let it go. Pinned bundles stay.",
		},
	},
}

const (
	minPart = 5 << 20
	maxPart = 5 << 30
)

var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)

func readStore(s section, cfg *Config) Store {
	var st Store
	st.Name, _ = s.name("name")
	s.ownName(st.Name, cfg)
	var kind storeKind
	s.choice("kind", &kind)
	st.Endpoint = s.endpoint("endpoint")
	if st.Bucket, _ = s.text("bucket"); st.Bucket != "" && !bucketName.MatchString(st.Bucket) {
		s.add(s.place("bucket"), strconv.Quote(st.Bucket), "the name of a bucket: 3 to 63 letters, digits, '.', '_' and '-'")
	}
	st.Prefix = s.prefix("prefix")
	st.Region, _ = s.text("region")
	st.Credentials = s.absolute("credentials", cfg)
	st.Profile, _ = s.text("profile")
	st.PathStyle = !strings.HasSuffix(strings.TrimSuffix(st.Endpoint, "/"), "amazonaws.com")
	if _, given := s.values["path_style"]; given {
		st.PathStyle = s.flag("path_style")
	}
	st.CAFile = s.absolute("ca_file", cfg)
	if n, ok := s.size("part_size"); ok {
		if st.PartSize = n; n < minPart || n > maxPart {
			text, _ := s.text("part_size")
			s.add(s.place("part_size"), strconv.Quote(text), `a size from "5MiB" to "5GiB"`)
		}
	}
	st.Parallel = int(s.integer("parallel", 1, 64))
	st.Rate, _ = s.size("rate")
	st.Stall = s.duration("stall", time.Second)
	st.Watches = s.watchNames("watches", cfg)
	s.choice("conditional", &st.Conditional)
	st.KeepLocal = s.keepLocal("keep_local")
	return st
}

// ownName makes sure that no destination before has the name, by which status, metrics and log tell them apart.
func (s section) ownName(name string, cfg *Config) {
	if name == "" {
		return
	}
	if slices.ContainsFunc(cfg.Stores, func(other Store) bool { return other.Name == name }) {
		s.add(s.place("name"), fmt.Sprintf("%q, the name of an earlier [[store]]", name), "a name of its own")
	}
	if slices.ContainsFunc(cfg.Pushes, func(other Push) bool { return other.Name == name }) {
		s.add(s.place("name"), fmt.Sprintf("%q, the name of an earlier [[push]]", name), "a name of its own")
	}
}

// Takes tells whether the bundles of a watch go to the store.
func (s Store) Takes(watch string) bool {
	return len(s.Watches) == 0 || slices.Contains(s.Watches, watch)
}

// setPartSizes tells watches in which parts their archives will be sent.
func (c *Config) setPartSizes() {
	for i := range c.Watches {
		w := &c.Watches[i]
		if first := slices.IndexFunc(c.Stores, func(s Store) bool { return s.Takes(w.Name) }); first >= 0 {
			w.PartSize = c.Stores[first].PartSize
		}
	}
}

// endpoint returns a URL of a host; what is wrong with one is told without the credentials that it may hold.
func (s section) endpoint(name string) string {
	const expected = `http:// or https:// with a host, and a port if need be`
	text, ok := s.text(name)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		s.add(s.place(name), "no URL", expected)
	case u.User != nil:
		s.add(s.place(name), "a URL with credentials in it", "the URL without them: see credentials")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		s.add(s.place(name), strconv.Quote(text), expected)
	}
	return text
}

func (s section) prefix(name string) string {
	text, _ := s.text(name)
	text = strings.Trim(text, "/")
	for _, segment := range strings.Split(text, "/") {
		if text != "" && (segment == "" || segment == "." || segment == "..") {
			s.add(s.place(name), strconv.Quote(text), "a folder, without empty segments, \".\" and \"..\"")
			return ""
		}
	}
	return text
}

func (s section) keepLocal(name string) time.Duration {
	if text, ok := s.values[name].(string); ok && text != keepForever {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			s.add(s.place(name), strconv.Quote(text), `"forever", or a duration in h, m or s, such as "72h"`)
		}
		return d
	}
	s.text(name)
	return -1
}
