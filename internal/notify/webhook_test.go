package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// hook is a webhook's receiver.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	heads  []http.Header
}

// newHook answers with the codes given, then with 204.
func newHook(t *testing.T, codes ...int) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bodies, h.heads = append(h.bodies, body), append(h.heads, r.Header)
		code := http.StatusNoContent
		if len(h.bodies) <= len(codes) {
			code = codes[len(h.bodies)-1]
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.bodies)
}

func webhookTo(url string) config.Notify {
	b := block("hook")
	b.URL = url
	return b
}

func secret(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestWebhook(t *testing.T) {
	h := newHook(t)
	b := webhookTo(h.URL + "/hook?x=1")
	b.SecretFile, b.TokenFile = secret(t, "top secret\n"), secret(t, "tok\n")
	n := start(t, options(), b)
	hostile := publish("r\x1b[2J\n\xff\"<script>`$(touch /tmp/x)`")
	n.Tell(hostile)
	eventually(t, "it is delivered", func() bool { return n.only().Delivered == 1 })
	require.Equal(t, strings.TrimPrefix(h.URL, "http://"), n.only().To)

	var m Message
	require.NoError(t, json.Unmarshal(h.bodies[0], &m))
	require.Equal(t, strings.ReplaceAll(hostile.Key, "\xff", "\uFFFD"), m.Key)
	require.Equal(t, 1, strings.Count(string(h.bodies[0]), "\n"), "one line")
	require.NotContains(t, string(h.bodies[0]), "<")
	require.Equal(t, config.NotifyPublish, m.Event)
	require.Equal(t, "bundlewatch test", m.Tool)
	head := h.heads[0]
	require.Equal(t, "application/json", head.Get("Content-Type"))
	require.Equal(t, "bundlewatch/test", head.Get("User-Agent"))
	require.Equal(t, "publish", head.Get(EventHeader))
	require.Equal(t, m.ID, head.Get(IDHeader))
	require.Equal(t, "Bearer tok", head.Get("Authorization"))

	parts := regexp.MustCompile(`^t=(\d+),v1=([0-9a-f]{64})$`).FindStringSubmatch(head.Get(SignatureHeader))
	require.NotNil(t, parts)
	mac := hmac.New(sha256.New, []byte("top secret"))
	fmt.Fprintf(mac, "%s.%s", parts[1], h.bodies[0])
	require.Equal(t, hex.EncodeToString(mac.Sum(nil)), parts[2])
}

func TestWebhookWithoutSecretIsNotSigned(t *testing.T) {
	h := newHook(t)
	n := start(t, options(), webhookTo(h.URL))
	n.Tell(publish("1"))
	eventually(t, "it is delivered", func() bool { return n.only().Delivered == 1 })
	require.Empty(t, h.heads[0].Get(SignatureHeader))
	require.Empty(t, h.heads[0].Get("Authorization"))
}

func TestWebhookCodes(t *testing.T) {
	for _, c := range []struct {
		codes []int
		posts int
		taken bool
	}{
		{[]int{200}, 1, true},
		{[]int{500, 502, 503}, 4, true},
		{[]int{429, 408, 425}, 4, true},
		{[]int{500, 500, 500, 500}, 4, false},
		{[]int{400}, 1, false},
		{[]int{404}, 1, false},
		{[]int{304}, 1, false},
	} {
		h := newHook(t, c.codes...)
		n := start(t, options(), webhookTo(h.URL))
		n.Tell(publish("1"))
		eventually(t, "it is over", func() bool { return n.only().Queued == 0 })
		require.Equal(t, c.posts, h.count(), "%v", c.codes)
		require.Equal(t, c.taken, n.only().Delivered == 1, "%v", c.codes)
		if !c.taken {
			require.Contains(t, n.only().Error, fmt.Sprintf("it answers %d", c.codes[len(c.codes)-1]))
		}
		for _, body := range h.bodies {
			require.Equal(t, string(h.bodies[0]), string(body), "every attempt has the same id")
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := newHook(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		from := httptest.NewServer(http.RedirectHandler(other.URL+"/steal", code))
		b := webhookTo(from.URL)
		b.TokenFile = secret(t, "tok")
		n := start(t, options(), b)
		n.Tell(publish("1"))
		eventually(t, "it is over", func() bool { return n.only().Failed == 1 })
		require.Contains(t, n.only().Error, fmt.Sprintf("it answers %d", code))
		require.Contains(t, n.only().Error, strings.TrimPrefix(other.URL, "http://"))
		require.NotContains(t, n.only().Error, "steal")
		from.Close()
	}
	require.Zero(t, other.count())
}

func TestWebhookThatHangs(t *testing.T) {
	released := make(chan struct{})
	for name, handler := range map[string]http.HandlerFunc{
		"never answers": func(_ http.ResponseWriter, r *http.Request) { <-released },
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-released:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		},
	} {
		server := httptest.NewServer(handler)
		b := webhookTo(server.URL)
		b.Timeout, b.Retries = 50*time.Millisecond, 1
		n := start(t, options(), b)
		n.Tell(publish("1"))
		eventually(t, name, func() bool { return n.only().Queued == 0 })
		if name == "never answers" {
			require.Equal(t, 1, n.only().Failed)
			require.Contains(t, n.only().Error, "no answer within 50ms")
		} else {
			require.Equal(t, 1, n.only().Delivered, "the code is the answer; the body is cut off")
		}
		defer server.Close()
	}
	close(released)
}

func TestWebhookThatBreaksOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 200"))
			c.Close()
		}
	}()
	n := start(t, options(), webhookTo("http://"+l.Addr().String()+"/T000/very-secret-path"))
	n.Tell(publish("1"))
	eventually(t, "it is given up", func() bool { return n.only().Failed == 1 })
	require.Equal(t, 3, n.only().Retried)
	require.NotContains(t, n.only().Error, "very-secret-path")
	l.Close()
	<-ended
	n.Tell(publish("2")) // nobody listens
	eventually(t, "it is given up, too", func() bool { return n.only().Failed == 2 })
	require.Contains(t, n.only().Error, "connection refused")
	require.NotContains(t, n.only().Error, "very-secret-path")
}

func TestWebhookOverTLS(t *testing.T) {
	var got sync.WaitGroup
	got.Add(1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Done() }))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	n := start(t, options(), webhookTo(server.URL))
	n.Tell(publish("1"))
	eventually(t, "its certificate is not trusted", func() bool { return n.only().Failed == 1 })
	require.Contains(t, n.only().Error, "certificate")

	b := webhookTo(server.URL)
	b.CAFile = secret(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	n = start(t, options(), b)
	n.Tell(publish("1"))
	got.Wait()
	eventually(t, "with ca_file it is", func() bool { return n.only().Delivered == 1 })
}

func TestSecretsComeFromFilesAtEveryDelivery(t *testing.T) {
	h := newHook(t)
	b := block("hook")
	dir := t.TempDir()
	b.URLFile, b.Retries = filepath.Join(dir, "url"), 0
	n := start(t, options(), b)
	give := func(want string) {
		t.Helper()
		failed := n.only().Failed
		n.Tell(publish("1"))
		eventually(t, want, func() bool { return n.only().Failed == failed+1 })
		require.Contains(t, n.only().Error, want)
	}
	give("no such file")
	require.NoError(t, os.WriteFile(b.URLFile, []byte("\n"), 0o600))
	give("is empty")
	require.NoError(t, os.WriteFile(b.URLFile, []byte("gopher://very-secret"), 0o600))
	give("has no URL of a webhook in it")
	require.NotContains(t, n.only().Error, "very-secret")
	require.NoError(t, os.WriteFile(b.URLFile, make([]byte, maxSecret+1), 0o600))
	give("is larger than")
	require.NoError(t, os.Remove(b.URLFile))
	require.NoError(t, os.Mkdir(b.URLFile, 0o700))
	give("no regular file")
	require.NoError(t, os.Remove(b.URLFile))
	require.NoError(t, os.WriteFile(b.URLFile, []byte(h.URL+"\n"), 0o600))
	n.Tell(publish("1"))
	eventually(t, "it works with the file", func() bool { return n.only().Delivered == 1 })
	require.Empty(t, n.only().To)

	for key, path := range map[string]func(*config.Notify, string){
		"secret_file": func(b *config.Notify, path string) { b.SecretFile = path },
		"token_file":  func(b *config.Notify, path string) { b.TokenFile = path },
		"ca_file":     func(b *config.Notify, path string) { b.CAFile = path },
	} {
		b := webhookTo(h.URL)
		b.Retries = 0
		path(&b, filepath.Join(dir, "missing"))
		n := start(t, options(), b)
		n.Tell(publish("1"))
		eventually(t, key, func() bool { return n.only().Failed == 1 })
		require.Contains(t, n.only().Error, key)
	}
	require.Equal(t, 1, h.count())
}

// A URL from a file is as good as one from the config: a token does not travel in the clear.
func TestTokenStaysSecret(t *testing.T) {
	b := block("hook")
	b.URLFile, b.TokenFile = secret(t, "http://192.0.2.1/"), secret(t, "tok")
	n := start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it is refused", func() bool { return n.only().Failed == 1 })
	require.Contains(t, n.only().Error, "in the clear")
	require.Zero(t, n.only().Retried)
}

func TestRetryAfterIsHeard(t *testing.T) {
	err := judge("h", &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"7"}}})
	var later *laterError
	require.ErrorAs(t, err, &later)
	require.Equal(t, 7*time.Second, later.after)
	require.ErrorAs(t, judge("h", &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"99999"}}}), &later)
	require.Equal(t, maxRetryAfter, later.after)
	for _, bad := range []string{"-1", "soon", "99999999999999"} {
		err := judge("h", &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {bad}}})
		require.NotErrorAs(t, err, &later)
	}
}

func TestSendIsGivenUpAtTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	h := newHook(t)
	m := publish("1")
	err := webhook{webhookTo(h.URL), time.Now, "t"}.send(ctx, &m)
	require.ErrorContains(t, err, "given up at the end")
}
