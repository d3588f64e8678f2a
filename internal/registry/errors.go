package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
)

// TakenError tells that a tag holds something else, which stays.
type TakenError struct {
	Reference  string // with the tag
	Have, Want digest.Digest
	// SameArchive tells that what is there has the archive of this bundle: another host made it of the same files.
	SameArchive bool
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("%s holds %s already, and is not overwritten with %s", e.Reference, e.Have, e.Want)
	if e.SameArchive {
		text += "; the archive in both is the same"
	}
	return text
}

// Is makes it a conflict.
func (e *TakenError) Is(target error) bool { return target == backlog.ErrConflict }

// ErrNotFound tells that there is no such artifact.
var ErrNotFound = errors.New("not found")

// refusals are answers that a repetition would not change (github.com/opencontainers/distribution-spec, spec.md,
// "Error Codes").
var (
	refusedCodes    = []string{errcode.ErrorCodeManifestInvalid, errcode.ErrorCodeNameInvalid, errcode.ErrorCodeSizeInvalid, errcode.ErrorCodeUnsupported}
	refusedStatuses = []int{http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
)

const loginHint = "docker login or oras login as the user that bundlewatch runs as, with the right to pull and push"

// explain makes an answer one that can be shown and judged: URLs lose what is behind "?", which can be a signature
// that opens a blob to everybody.
func explain(err error) error {
	var answer *errcode.ErrorResponse
	var request *url.Error
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("the registry wants credentials, and there are none; %s", loginHint)
	case errors.As(err, &answer):
		return newAnswerError(answer)
	case errors.As(err, &request):
		return fmt.Errorf("%s %s: %w", request.Op, bare(request.URL), request.Err)
	case errors.Is(err, errdef.ErrNotFound):
		return ErrNotFound
	}
	return err
}

// answerError is an answer that is no success.
type answerError struct {
	text   string
	status int
	final  bool // it would be the same again
}

func newAnswerError(a *errcode.ErrorResponse) *answerError {
	what := http.StatusText(a.StatusCode)
	if len(a.Errors) > 0 {
		what = a.Errors.Error()
	}
	where := ""
	if a.URL != nil {
		where = bare(a.URL.String())
	}
	e := &answerError{text: fmt.Sprintf("%s %s: the registry answers %d: %.500q", a.Method, where, a.StatusCode, what), status: a.StatusCode}
	e.final = slices.Contains(refusedStatuses, a.StatusCode) ||
		slices.ContainsFunc(a.Errors, func(e errcode.Error) bool { return slices.Contains(refusedCodes, e.Code) })
	if a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden {
		e.text += "; " + loginHint
	}
	return e
}

func (e *answerError) Error() string { return e.text }

// Is makes it final or not.
func (e *answerError) Is(target error) bool { return e.final && target == backlog.ErrRefused }

// Passing tells whether another attempt may go well soon: the network or the registry had a bad moment.
func Passing(err error) bool {
	var answer *answerError
	var network net.Error
	switch {
	case errors.As(err, &answer):
		return answer.status >= 500 || answer.status == http.StatusTooManyRequests || answer.status == http.StatusRequestTimeout
	case errors.As(err, &network) && network.Timeout():
		return true
	}
	return errors.Is(err, errStalled) || errors.Is(err, errSilent) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// bare leaves out of a URL what can open a door.
func bare(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the registry"
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}
