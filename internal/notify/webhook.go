package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// The headers of a webhook.
const (
	SignatureHeader = "Bundlewatch-Signature" // t=<Unix time>,v1=<hex of HMAC-SHA256 over "<Unix time>.<body>">
	EventHeader     = "Bundlewatch-Event"
	IDHeader        = "Bundlewatch-Id"
)

// webhook posts messages.
type webhook struct {
	block config.Notify
	now   func() time.Time
	tool  string
}

// Bounds of what a receiver may send back.
const (
	maxAnswer     = 64 << 10
	maxRetryAfter = 5 * time.Minute
)

func (w webhook) send(ctx context.Context, m *Message) error {
	request, err := w.request(ctx, m)
	if err != nil {
		return err
	}
	client, err := w.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return postError(request.URL.Host, w.block.Timeout, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // the code is the answer
	return judge(request.URL.Host, response)
}

func (w webhook) request(ctx context.Context, m *Message) (*http.Request, error) {
	target, err := w.url()
	if err != nil {
		return nil, err
	}
	body, err := m.body()
	if err != nil {
		return nil, &finalError{err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL of the webhook makes no sense") // the error would tell it
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", strings.ReplaceAll(w.tool, " ", "/"))
	request.Header.Set(EventHeader, string(m.Event))
	request.Header.Set(IDHeader, m.ID)
	if err := w.authorize(request, target); err != nil {
		return nil, err
	}
	return request, w.sign(request, body)
}

// url returns where to post to. It may be a secret, which no error tells.
func (w webhook) url() (string, error) {
	if w.block.URL != "" {
		return w.block.URL, nil
	}
	text, err := readSecret(w.block.URLFile)
	if err != nil {
		return "", fmt.Errorf("read url_file: %w", err)
	}
	if config.BadWebhook(text) != "" {
		return "", fmt.Errorf("read url_file: %q has no URL of a webhook in it: expected https://… or http://… without a password or a #", w.block.URLFile)
	}
	return text, nil
}

func (w webhook) authorize(request *http.Request, target string) error {
	if w.block.TokenFile == "" {
		return nil
	}
	if !config.MaySendToken(target) {
		return &finalError{fmt.Errorf("post to %s: its token would travel in the clear: use https", request.URL.Host)}
	}
	token, err := readSecret(w.block.TokenFile)
	if err != nil {
		return fmt.Errorf("read token_file: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (w webhook) sign(request *http.Request, body []byte) error {
	if w.block.SecretFile == "" {
		return nil
	}
	key, err := readSecret(w.block.SecretFile)
	if err != nil {
		return fmt.Errorf("read secret_file: %w", err)
	}
	request.Header.Set(SignatureHeader, Signature([]byte(key), w.now(), body))
	return nil
}

// Signature is the value of [SignatureHeader] for a body that is sent at that time.
func Signature(key []byte, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// client makes a client for one delivery. Redirects are not followed: they would take body, signature and token to
// wherever the answer says.
func (w webhook) client() (*http.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if w.block.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := readSecret(w.block.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		if !pool.AppendCertsFromPEM([]byte(pem)) {
			return nil, fmt.Errorf("read ca_file: %q has no certificate in PEM in it", w.block.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// postError leaves the URL out, of which all but the host may be a secret.
func postError(host string, timeout time.Duration, err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %s", timeout)
	case errors.Is(err, context.Canceled):
		err = errors.New("given up at the end")
	}
	return fmt.Errorf("post to %s: %w", host, err)
}

// judge tells by the code whether a message was taken, and whether another attempt would help.
func judge(host string, r *http.Response) error {
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return nil
	}
	err := fmt.Errorf("post to %s: it answers %d %s", host, r.StatusCode, http.StatusText(r.StatusCode))
	switch {
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return &finalError{fmt.Errorf("%w%s; redirects are not followed: set the URL that it leads to", err, redirectHost(r))}
	case r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusTooEarly, r.StatusCode == http.StatusTooManyRequests, r.StatusCode >= 500:
		if seconds, bad := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 32); bad == nil {
			return &laterError{err, min(time.Duration(seconds)*time.Second, maxRetryAfter)}
		}
		return err
	}
	return &finalError{err}
}

func redirectHost(r *http.Response) string {
	if to, err := r.Location(); err == nil && to.Host != "" {
		return fmt.Sprintf(" to %q", to.Host)
	}
	return ""
}

// hostOf returns the host of a URL, which is no secret.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// maxSecret bounds what is read of a file with a secret.
const maxSecret = 64 << 10

// readSecret reads a regular file without the end of its last line.
func readSecret(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe does not hold it up
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("%q is no regular file", path), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(data) > maxSecret:
		return "", fmt.Errorf("%q is larger than %d bytes", path, maxSecret)
	case text == "":
		return "", fmt.Errorf("%q is empty", path)
	}
	return text, nil
}
