package notify

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// Schema is the version of the JSON object. Fields may be added to it; a change of what a field means makes
// another version.
const Schema = 1

// Message is what is told of one event. Texts in it can come from outside, such as names of files. It is
// documented in docs/notify.md.
type Message struct {
	Schema int                `json:"schema_version"` // Schema
	ID     string             `json:"id"`             // of the event: the same for all targets and attempts
	Event  config.NotifyEvent `json:"event"`
	At     time.Time          `json:"at"`
	Host   string             `json:"host"`
	Tool   string             `json:"tool"`
	Text   string             `json:"text"` // a sentence for people, without control characters
	Watch  string             `json:"watch,omitempty"`
	Run    string             `json:"run,omitempty"`
	Key    string             `json:"key,omitempty"`
	Role   string             `json:"role,omitempty"`
	Path   string             `json:"path,omitempty"` // of the bundle, or of the file in question; absolute
	// Destination is the name of a [[store]] or [[push]] that an alert is about.
	Destination string   `json:"destination,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Waits       []string `json:"waits,omitempty"`   // of expired: what the set waits for
	Bytes       int64    `json:"bytes,omitempty"`   // of the archive
	Tensors     int      `json:"tensors,omitempty"` // in the archive
	Seconds     float64  `json:"seconds,omitempty"` // that packing took
	Alert       *Alert   `json:"alert,omitempty"`
}

// Alert is what a message of the event alert is about.
type Alert struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // when it was raised
}

// State says whether an alert begins or ends.
type State string

// The states.
const (
	Raised  State = "raised"
	Cleared State = "cleared"
)

// body is a message as one line of JSON. Text that is no UTF-8 has U+FFFD in place of what is none.
func (m *Message) body() ([]byte, error) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(m); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxVariable bounds a variable of the environment; the kernel takes 128 KiB.
const maxVariable = 32 << 10

// environment is a message for a program that reads no JSON. Names of files are in it byte by byte.
func (m *Message) environment() []string {
	values := []struct{ name, value string }{
		{"SCHEMA_VERSION", strconv.Itoa(m.Schema)}, {"ID", m.ID}, {"EVENT", string(m.Event)}, {"TEXT", m.Text}, {"WATCH", m.Watch}, {"RUN", m.Run},
		{"KEY", m.Key}, {"ROLE", m.Role}, {"PATH", m.Path}, {"REASON", m.Reason}, {"DESTINATION", m.Destination},
	}
	if m.Alert != nil {
		values = append(values, struct{ name, value string }{"ALERT", m.Alert.Name}, struct{ name, value string }{"ALERT_STATE", string(m.Alert.State)})
	}
	var env []string
	for _, v := range values {
		env = append(env, "BUNDLEWATCH_"+v.name+"="+strings.ReplaceAll(v.value[:min(len(v.value), maxVariable)], "\x00", "\uFFFD"))
	}
	return env
}
