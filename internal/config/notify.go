package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Notify is one [[notify]]: somebody who is told what happens, by a command or a webhook.
type Notify struct {
	Name    string // unique; a label of metrics
	Events  []NotifyEvent
	Watches []string // names of watches; nil for all, and for what concerns no watch

	Command []string // a program and its arguments; nil for a webhook
	URL     string   // of a webhook; "" when it is in URLFile
	// URLFile holds the URL, SecretFile the key of the signature, TokenFile a bearer token, each read at every
	// delivery. CAFile holds certificates in PEM that are trusted besides those of the system. "" for none.
	URLFile, SecretFile, TokenFile, CAFile string

	Timeout time.Duration // of one attempt
	Retries int           // further attempts after the first; 0 for none
	Queue   int           // messages that wait at most
}

// NotifyEvent is what a message is about.
type NotifyEvent string

// The events.
const (
	NotifyPublish NotifyEvent = "publish" // a bundle was published
	NotifyRefusal NotifyEvent = "refusal" // a file or set cannot be bundled as it is
	NotifyFailure NotifyEvent = "failure" // an attempt failed that is made again
	NotifyExpired NotifyEvent = "expired" // a set has waited longer than expire
	NotifyPrune   NotifyEvent = "prune"   // retention removed an archive
	NotifyAlert   NotifyEvent = "alert"   // an alert was raised or cleared
	NotifyTest    NotifyEvent = "test"    // somebody tries a block; no block asks for it
)

// UnmarshalText accepts the names of the events.
func (e *NotifyEvent) UnmarshalText(text []byte) error {
	return choose(e, text, NotifyPublish, NotifyRefusal, NotifyFailure, NotifyExpired, NotifyPrune, NotifyAlert)
}

// maxQueue bounds the memory that a target takes: a message has a few KiB.
const maxQueue = 10_000

var notifyTable = tableDoc{
	header:  "[[notify]]",
	meaning: "Somebody who is told what happens, by a command or by a webhook: [notifications](notify.md). Each block has one of `command`, `url` and `url_file`.",
	keys: []keyDoc{
		{
			name: "name", kind: "string", required: true,
			meaning: "Names the block in the log, in `bundlewatch status` and in metrics. Letters, digits, `.`, `_` and `-`, a letter or digit first. No two blocks share a name.",
		},
		{
			name: "events", kind: "array of strings", required: true,
			meaning: "What is told: `\"publish\"`, `\"refusal\"`, `\"failure\"`, `\"expired\"`, `\"prune\"`, `\"alert\"`.",
		},
		{
			name: "watches", kind: "array of strings",
			meaning: "The watches whose events are told. Without it those of all watches, and alerts that concern no watch.",
		},
		{
			name: "command", kind: "array of strings",
			meaning: "A program and its arguments, such as `[\"/usr/local/bin/page\", \"--team\", \"ml\"]`. It is run without a shell, once for each event, with the event as " +
				"JSON on its standard input. A program without a `/` is looked for in `$PATH`.",
		},
		{name: "url", kind: "URL", meaning: "A webhook, `https://…` or `http://…`, to which the event is posted as JSON."},
		{name: "url_file", kind: "path", meaning: "A file with the URL of the webhook, for one that is a secret. Read at every delivery."},
		{
			name: "secret_file", kind: "path",
			meaning: "A file with the key of the header `Bundlewatch-Signature`: an HMAC-SHA256 of time and body. Webhooks only. Read at every delivery.",
		},
		{
			name: "token_file", kind: "path",
			meaning: "A file with a token for the header `Authorization: Bearer …`. Webhooks with `https` only, or on the loopback address. Read at every delivery.",
		},
		{name: "ca_file", kind: "path", meaning: "A file with certificates (PEM) that are trusted besides those of the system. Webhooks only. Read at every delivery."},
		{name: "timeout", kind: "duration", initial: "10s", meaning: "How long one attempt may take. A command is then ended, with all processes of its group. At most `\"5m\"`."},
		{
			name: "retries", kind: "integer", initial: "8",
			meaning: "How often a delivery that failed is tried again, after a random time of up to 1 s, 2 s, 4 s … 1 min. From 0 to 100.",
		},
		{
			name: "queue", kind: "integer", initial: "256",
			meaning: "How many events wait at most. Beyond that the oldest is dropped, which is counted and shown. From 1 to 10000.",
		},
	},
}

// readNotify reads one block; the watches are known by then.
func readNotify(s section, cfg *Config) Notify {
	var n Notify
	n.Name, _ = s.name("name")
	if slices.ContainsFunc(cfg.Notify, func(other Notify) bool { return n.Name != "" && other.Name == n.Name }) {
		s.add(s.place("name"), fmt.Sprintf("%q, the name of an earlier block", n.Name), "a name of its own")
	}
	n.Events = s.notifyEvents()
	n.Watches = s.watchNames("watches", cfg)
	n.Timeout = s.duration("timeout", time.Millisecond)
	if n.Timeout > 5*time.Minute {
		s.add(s.place("timeout"), strconv.Quote(n.Timeout.String()), `at most "5m"`)
	}
	n.Retries = int(s.integer("retries", 0, 100))
	n.Queue = int(s.integer("queue", 1, maxQueue))
	s.notifyTarget(&n, cfg)
	return n
}

func (s section) notifyEvents() []NotifyEvent {
	if s.values["events"] == nil || isEmptyArray(s.values["events"]) {
		s.add(s.place("events"), describeGiven(s.values["events"]), `one or more of "publish", "refusal", "failure", "expired", "prune" and "alert" in [ ]`)
	}
	var events []NotifyEvent
	s.texts("events", func(at place, text string) {
		var e NotifyEvent
		if err := e.UnmarshalText([]byte(text)); err != nil {
			refused := err.(*choiceError)
			s.suggest(at, strconv.Quote(text), oneOf(refused.choices), nearest(text, refused.choices))
			return
		}
		if !slices.Contains(events, e) {
			events = append(events, e)
		}
	})
	return events
}

func describeGiven(value any) string {
	if value == nil {
		return "nothing"
	}
	return "an empty array"
}

// watchNames reads an array of names of watches.
func (s section) watchNames(name string, cfg *Config) []string {
	known := make([]string, len(cfg.Watches))
	for i, w := range cfg.Watches {
		known[i] = w.Name
	}
	var names []string
	s.texts(name, func(at place, text string) {
		if !slices.Contains(known, text) {
			expected := "the name of a [[watch]], of which there is none"
			if len(known) > 0 {
				expected = "the name of a [[watch]]: " + oneOf(known)
			}
			s.suggest(at, strconv.Quote(text), expected, nearest(text, known))
			return
		}
		names = append(names, text)
	})
	if isEmptyArray(s.values[name]) {
		s.add(s.place(name), "an empty array", "names of watches; leave it out for all")
	}
	return names
}

var targetKeys = []string{"command", "url", "url_file"}

// notifyTarget reads who is told, and how.
func (s section) notifyTarget(n *Notify, cfg *Config) {
	var given []string
	for _, key := range targetKeys {
		if s.values[key] != nil {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0:
		s.add(place{line: s.line, key: dotted(s.path)}, "nothing to run and nowhere to post to", "one of "+oneOf(targetKeys))
	case len(given) > 1:
		s.add(s.place(given[1]), fmt.Sprintf("%s beside %s", given[1], given[0]), "only one of "+oneOf(targetKeys)+" in a block: write two blocks")
	}
	n.Command = s.command(cfg)
	n.URL = s.webhook()
	for key, into := range map[string]*string{"url_file": &n.URLFile, "secret_file": &n.SecretFile, "token_file": &n.TokenFile, "ca_file": &n.CAFile} {
		*into = s.absolute(key, cfg)
	}
	if s.values["command"] == nil {
		s.checkToken(n)
		return
	}
	for _, key := range []string{"secret_file", "token_file", "ca_file"} {
		if s.values[key] != nil {
			s.add(s.place(key), key+" beside command", "it with url or url_file only")
		}
	}
}

// command reads a program and its arguments; a program with a slash is relative to the folder of the file.
func (s section) command(cfg *Config) []string {
	if isEmptyArray(s.values["command"]) {
		s.add(s.place("command"), "an empty array", `a program and its arguments, such as ["/usr/local/bin/page", "--team", "ml"]`)
	}
	items, isArray := s.values["command"].([]any)
	if s.values["command"] != nil && !isArray {
		s.add(s.place("command"), describe(s.values["command"]), "an array of strings in [ ]: the program and each argument by itself")
		return nil
	}
	var argv []string
	for i, item := range items {
		text, isText := item.(string)
		if !isText || i == 0 && text == "" || strings.Contains(text, "\x00") {
			s.add(s.item("command", i), describe(item), "a string in quotes")
			return nil
		}
		argv = append(argv, text)
	}
	if len(argv) > 0 && strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]) {
		argv[0] = filepath.Join(filepath.Dir(cfg.Path), argv[0])
	}
	return argv
}

func (s section) webhook() string {
	text, ok := s.text("url")
	if !ok {
		return ""
	}
	if why := BadWebhook(text); why != "" {
		s.add(s.place("url"), strconv.Quote(text), why)
		return ""
	}
	return text
}

// BadWebhook says what the URL of a webhook is expected to be, "" when it is that.
func BadWebhook(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return `a URL such as "https://hooks.example.org/bundlewatch"`
	case u.User != nil:
		return "a URL without a name and password in it: put a token into token_file"
	case u.Fragment != "":
		return "a URL without a # in it"
	}
	return ""
}

// checkToken refuses to send a token in the clear.
func (s section) checkToken(n *Notify) {
	if n.TokenFile != "" && n.URL != "" && !MaySendToken(n.URL) {
		s.add(s.place("token_file"), "a token for "+strconv.Quote(n.URL), "a URL with https, or on the loopback address: the token would travel in the clear")
	}
}

// MaySendToken tells whether a token that is sent to a URL stays secret on the way.
func MaySendToken(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
