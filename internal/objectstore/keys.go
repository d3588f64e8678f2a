package objectstore

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// noKeysError tells that no source of credentials had any, and why.
type noKeysError struct{ reasons []error }

func (e *noKeysError) Error() string {
	var all []string
	for _, r := range e.reasons {
		all = append(all, r.Error())
	}
	return strings.Join(all, "; ")
}

func (e *noKeysError) Unwrap() []error { return e.reasons }

// source is a place of the chain.
type source struct {
	credentials.Provider
	name     string
	optional bool // may be missing without a word
}

// keys are credentials that are read when they are needed, and again when they expire.
type keys struct{ credentials *credentials.Credentials }

func newKeys(o Options, transport *http.Transport) *keys {
	file := &credentials.FileAWSCredentials{Filename: o.Credentials, Profile: o.Profile}
	if o.Credentials != "" {
		return &keys{credentials.New(&chain{sources: []source{{Provider: file, name: o.Credentials}}})}
	}
	sources := []source{{&credentials.EnvAWS{}, "environment", true}, {file, "shared files", true}}
	if role := newRole(&http.Client{Transport: transport, Timeout: 5 * time.Second}); role != nil {
		sources = append(sources, source{role, "role", false})
	}
	return &keys{credentials.New(&chain{sources: sources})}
}

// newRole is where the role of the pod, the container or the instance gets its keys from, nil where nothing is to be asked.
// The variables are those of the AWS SDKs.
func newRole(client *http.Client) *credentials.IAM {
	role := &credentials.IAM{Client: client}
	switch {
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		role.Endpoint = os.Getenv("AWS_ENDPOINT_URL_STS")
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "", os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
	case strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"):
		return nil
	default:
		role.Endpoint = os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	}
	return role
}

// renew makes the next call read the credentials again. It tells whether there is anything to be read.
func (k *keys) renew() bool {
	k.credentials.Expire()
	return true
}

// chain asks one source after the other. Unlike that of the library it never falls back to requests without a
// signature, whose bodies nothing would protect.
type chain struct {
	sources []source
	current credentials.Provider
}

// RetrieveWithCredContext implements [credentials.Provider].
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	failed := &noKeysError{}
	for _, s := range c.sources {
		v, err := s.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.current = s
			return v, nil
		}
		if err = withoutURL(err); err != nil && (!s.optional || !errors.Is(err, fs.ErrNotExist)) {
			failed.reasons = append(failed.reasons, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	c.current = nil
	return credentials.Value{}, failed
}

// withoutURL leaves out the address of a request, which may hold a token.
func withoutURL(err error) error {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err
	}
	return err
}

// Retrieve implements [credentials.Provider].
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired implements [credentials.Provider].
func (c *chain) IsExpired() bool { return c.current == nil || c.current.IsExpired() }
