package objectstore

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// errNoKeys tells that no source of credentials had any.
var errNoKeys = errors.New("no credentials")

// keys are credentials that are read when they are needed, and again when they expire.
type keys struct{ credentials *credentials.Credentials }

func newKeys(o Options, transport *http.Transport) *keys {
	file := &credentials.FileAWSCredentials{Filename: o.Credentials, Profile: o.Profile}
	if o.Credentials != "" {
		return &keys{credentials.New(&chain{sources: []credentials.Provider{file}})}
	}
	sources := []credentials.Provider{&credentials.EnvAWS{}, file}
	if !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") || os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "" {
		sources = append(sources, &credentials.IAM{Client: &http.Client{Transport: transport, Timeout: 5 * time.Second}})
	}
	return &keys{credentials.New(&chain{sources: sources})}
}

// renew makes the next call read the credentials again. It tells whether there is anything to be read.
func (k *keys) renew() bool {
	k.credentials.Expire()
	return true
}

// chain asks one source after the other. Unlike that of the library it never falls back to requests without a
// signature, whose bodies nothing would protect.
type chain struct {
	sources []credentials.Provider
	current credentials.Provider
}

// RetrieveWithCredContext implements [credentials.Provider].
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	for _, s := range c.sources {
		v, err := s.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.current = s
			return v, nil
		}
	}
	c.current = nil
	return credentials.Value{}, errNoKeys
}

// Retrieve implements [credentials.Provider].
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired implements [credentials.Provider].
func (c *chain) IsExpired() bool { return c.current == nil || c.current.IsExpired() }
