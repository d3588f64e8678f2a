package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
)

// DrainRequest asks a daemon to bundle all that can be bundled now.
type DrainRequest struct {
	// Below are absolute directories: only sets with a file below one of them count. Nothing means all sets.
	Below []string `json:"below,omitempty"`
	// Look wants nothing done, and to be told what is left as far as it is known.
	Look bool `json:"look,omitempty"`
	// StartSeconds is for how long bundles are started, Seconds after how long the answer must be there.
	StartSeconds float64 `json:"start_seconds"`
	Seconds      float64 `json:"seconds"`
}

// Of the time for a drain nothing is started in the first of these last parts of it: what is under way may end. In the
// second one it is told what became of it.
const (
	drainReserve = 5 * time.Second
	tellReserve  = time.Second
)

// NewDrainRequest asks for a drain that takes no longer than timeout with all that is told of it.
func NewDrainRequest(timeout time.Duration, below []string) DrainRequest {
	return DrainRequest{Below: below, StartSeconds: max(0, (timeout - drainReserve).Seconds()), Seconds: max(0, (timeout - tellReserve).Seconds())}
}

// Drained is what became of a drain.
type Drained struct {
	Version int      `json:"version"` // Schema
	Bundled []Bundle `json:"bundled"` // during the drain
	Before  int      `json:"before"`  // sets that were published before, as they are
	Left    []Left   `json:"left"`    // what is not durable; nothing when all is
}

// Left is a set that is not durable, or something else that the drain did not come to.
type Left struct {
	Watch   string   `json:"watch"`
	Key     string   `json:"key,omitempty"`
	State   State    `json:"state,omitempty"`
	Reasons []string `json:"reasons"`
}

// Drainer drains on behalf of a client, until the context is done at the latest.
type Drainer func(context.Context, DrainRequest) Drained

// longestDrain is more than anybody waits for the end of a job, and less than a duration can hold.
const longestDrain = 7 * 24 * time.Hour

func seconds(s float64) time.Duration {
	return time.Duration(math.Min(math.Max(s, 0), longestDrain.Seconds()) * float64(time.Second))
}

// Times returns until when bundles are started and by when the answer must be there.
func (r DrainRequest) Times(now time.Time) (startBy, answerBy time.Time) {
	return now.Add(seconds(r.StartSeconds)), now.Add(seconds(r.Seconds))
}

// maxRequest bounds what is taken from a client.
const maxRequest = 64 << 10

// drainHandler answers when the drain is over, however long that takes. A client that goes away ends it.
func drainHandler(drain Drainer) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		var r DrainRequest
		body, err := io.ReadAll(io.LimitReader(request.Body, maxRequest))
		if err == nil {
			err = json.Unmarshal(body, &r)
		}
		if err != nil {
			text(w, http.StatusBadRequest, fmt.Sprintf("a request that makes no sense: %v\n", err))
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // else the connection is taken for lost after a while
		_ = control.SetWriteDeadline(time.Now().Add(seconds(r.Seconds) + answerTime))
		out := drain(request.Context(), r)
		out.Version = Schema
		writeJSON(w, out)
	}
}

// Drain asks the daemon that answers on a socket to drain, and waits for the answer until the context is done.
func Drain(ctx context.Context, path string, r DrainRequest) (*Drained, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	line, err := converse(ctx, path, http.MethodPost, "/drain", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	var out Drained
	if err := decode(path, line, &out, func() int { return out.Version }); err != nil {
		return nil, err
	}
	return &out, nil
}
