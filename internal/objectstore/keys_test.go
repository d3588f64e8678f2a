package objectstore

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// Each source of the usual chain gives keys that the store takes.
func TestKeysOfTheUsualChain(t *testing.T) {
	const pair = "aws_access_key_id = " + objectserver.AccessKey + "\naws_secret_access_key = " + objectserver.SecretKey + "\n"
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	role := fmt.Sprintf(`{"Code": "Success", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": "session", "Expiration": %q}`,
		objectserver.AccessKey, objectserver.SecretKey, expires)
	for name, prepare := range map[string]func(t *testing.T, home string){
		"environment": func(t *testing.T, _ string) {
			t.Setenv("AWS_ACCESS_KEY_ID", objectserver.AccessKey)
			t.Setenv("AWS_SECRET_ACCESS_KEY", objectserver.SecretKey)
		},
		"shared file": func(t *testing.T, home string) {
			writeKeys(t, filepath.Join(home, ".aws/credentials"), "[default]\n"+pair)
		},
		"shared file elsewhere, other profile": func(t *testing.T, home string) {
			writeKeys(t, filepath.Join(home, "keys"), "[default]\naws_access_key_id = other\naws_secret_access_key = other\n[lab]\n"+pair)
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "keys"))
			t.Setenv("AWS_PROFILE", "lab")
		},
		"credential_process": func(t *testing.T, home string) {
			program := filepath.Join(home, "vault")
			text := fmt.Sprintf("#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": %q, \"SecretAccessKey\": %q}'\n", objectserver.AccessKey, objectserver.SecretKey)
			require.NoError(t, os.WriteFile(program, []byte(text), 0o755))
			writeKeys(t, filepath.Join(home, ".aws/config"), "[default]\ncredential_process = "+program+" lab\n")
		},
		"web identity": func(t *testing.T, home string) {
			writeKeys(t, filepath.Join(home, "token"), "a token of the cluster")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(home, "token"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/bundles")
			t.Setenv("AWS_ENDPOINT_URL_STS", answer(t, func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				if r.Form.Get("Action") != "AssumeRoleWithWebIdentity" || r.Form.Get("WebIdentityToken") != "a token of the cluster" ||
					r.Form.Get("RoleArn") != "arn:aws:iam::1:role/bundles" {
					http.Error(w, "not for you", http.StatusForbidden)
					return
				}
				fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, objectserver.AccessKey, objectserver.SecretKey, expires)
			}))
		},
		"container": func(t *testing.T, _ string) {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true") // says nothing of containers
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", answer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, role) })+"/role")
		},
		"instance": func(t *testing.T, _ string) {
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", answer(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.Method + " " + r.URL.Path {
				case "PUT /latest/api/token":
					_, _ = io.WriteString(w, "token")
				case "GET /latest/meta-data/iam/security-credentials/":
					_, _ = io.WriteString(w, "bundles")
				case "GET /latest/meta-data/iam/security-credentials/bundles":
					_, _ = io.WriteString(w, role)
				default:
					http.NotFound(w, r)
				}
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := withoutKeys(t)
			prepare(t, home)
			_, _, err := getWithUsualKeys(t)
			require.NoError(t, err)
		})
	}
}

// What fails is told, and what is not there is not.
func TestNoSourceHasKeys(t *testing.T) {
	t.Run("nothing is there", func(t *testing.T) {
		withoutKeys(t)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		_, _, err := getWithUsualKeys(t)
		require.ErrorIs(t, err, ErrNoKeys)
		require.Contains(t, err.Error(), ErrNoKeys.Error())
		require.NotContains(t, err.Error(), "no such file")
	})
	t.Run("a program that fails", func(t *testing.T) {
		home := withoutKeys(t)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		writeKeys(t, filepath.Join(home, ".aws/config"), "[default]\ncredential_process = false lab\n")
		_, _, err := getWithUsualKeys(t)
		require.ErrorIs(t, err, ErrNoKeys)
		require.ErrorContains(t, err, "shared files: exit status 1")
	})
	t.Run("a role that is refused", func(t *testing.T) {
		home := withoutKeys(t)
		writeKeys(t, filepath.Join(home, "token"), "secret-token")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(home, "token"))
		t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
		_, _, err := getWithUsualKeys(t)
		require.ErrorIs(t, err, ErrNoKeys)
		require.ErrorContains(t, err, "role: ")
		require.NotContains(t, err.Error(), "secret-token")
	})
	t.Run("a file that is named and not there", func(t *testing.T) {
		_, c := serve(t, func(o *Options) { o.Credentials = "/nowhere/keys" })
		_, _, err := c.Get(t.Context(), "a", 10)
		require.ErrorIs(t, err, ErrNoKeys)
		require.ErrorContains(t, err, "/nowhere/keys: ")
	})
}

// withoutKeys takes away what the environment of the test says of keys, and returns an empty home directory.
func withoutKeys(t *testing.T) (home string) {
	home = t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL_STS", "AWS_REGION", "AWS_EC2_METADATA_DISABLED",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "") // puts back what was there
		require.NoError(t, os.Unsetenv(name))
	}
	return home
}

func getWithUsualKeys(t *testing.T) ([]byte, Object, error) {
	s := objectserver.New()
	t.Cleanup(s.Close)
	s.Set("a", []byte("x"), s.Now())
	c, err := Open(Options{Endpoint: s.URL, Bucket: objectserver.Bucket, Region: objectserver.Region, PathStyle: true, Patience: quick})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c.Get(t.Context(), "a", 10)
}

func writeKeys(t *testing.T, path, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// answer serves on loopback and returns the address.
func answer(t *testing.T, handle http.HandlerFunc) string {
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}
