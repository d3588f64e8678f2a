package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const twoWatches = `[artifacts]
dir = "out"
[[watch]]
name = "pairs"
root = "runs"
members = { a = "{n}" }
[[watch]]
name = "trees"
root = "trees"
members = { a = "{n}" }
`

func TestPush(t *testing.T) {
	cfg, err := parse("/etc/b.toml", twoWatches+`
[[push]]
name = "lab"
kind = "oci"
repository = "registry.example:5000/team/models"
[[push]]
name = "own"
kind = "oci"
repository = "[::1]:5000/a"
watches = ["trees"]
parallel = 4
rate = "50MiB"
credentials = "auth.json"
ca_file = "/etc/ca.pem"
plain_http = true
`)
	require.NoError(t, err)
	require.Equal(t, []Push{
		{Name: "lab", Kind: PushOCI, Repository: "registry.example:5000/team/models", Parallel: 2},
		{Name: "own", Kind: PushOCI, Repository: "[::1]:5000/a", Watches: []string{"trees"}, Parallel: 4, Rate: 50 << 20, Credentials: "/etc/auth.json",
			CAFile: "/etc/ca.pem", PlainHTTP: true},
	}, cfg.Pushes)
}

func TestPushProblems(t *testing.T) {
	for name, c := range map[string]struct {
		lines string
		want  []string
	}{
		"nothing": {"", []string{
			`11: push.name: found nothing, expected a string`, `11: push.kind: found nothing, expected a string`, `11: push.repository: found nothing, expected a string`}},
		"kind":         {`kind = "s3"`, []string{`12: push.kind: found "s3", expected "oci"`}},
		"unknown key":  {`repo = "x"`, []string{`12: push.repo: found an unknown key, expected one of "name", "kind", "repository", "watches", "parallel", "rate", "credentials", "ca_file" or "plain_http"`}},
		"scheme":       {`repository = "https://h/a"`, []string{`12: push.repository: found "https://h/a", expected a repository without scheme and tag, in lower case, such as "registry.example/team/models"`}},
		"tag":          {`repository = "h/a:latest"`, []string{`12: push.repository: found "h/a:latest", expected a repository without scheme and tag, in lower case, such as "registry.example/team/models"`}},
		"upper case":   {`repository = "h/A"`, []string{`12: push.repository: found "h/A", expected a repository without scheme and tag, in lower case, such as "registry.example/team/models"`}},
		"host alone":   {`repository = "h"`, []string{`12: push.repository: found "h", expected a repository without scheme and tag, in lower case, such as "registry.example/team/models"`}},
		"credentials":  {`repository = "me:secret@h/a"`, []string{`12: push.repository: found a text with an @, expected a repository without credentials or digest; log in with docker login or oras login`}},
		"watch":        {`watches = ["pair", "trees"]`, []string{`12: push.watches[0]: found "pair", expected the name of a [[watch]]: "pairs" or "trees", did you mean "pairs"?`}},
		"parallel":     {`parallel = 0`, []string{`12: push.parallel: found the number 0, expected a whole number from 1 to 16`}},
		"plain abroad": {`plain_http = true`, []string{`12: push.plain_http: found true, for a registry on another machine, expected false: credentials and models go there over TLS alone`}},
	} {
		t.Run(name, func(t *testing.T) {
			src := twoWatches + "[[push]]\n" + c.lines + "\n"
			for key, value := range map[string]string{"name": "lab", "kind": "oci", "repository": "h.example/a"} {
				if name != "nothing" && !strings.HasPrefix(c.lines, key+" =") {
					src += key + " = \"" + value + "\"\n"
				}
			}
			_, err := parse("/etc/b.toml", src)
			var problems Problems
			require.ErrorAs(t, err, &problems)
			var got []string
			for _, p := range problems {
				got = append(got, p.Error()[len("/etc/b.toml:"):])
			}
			require.Equal(t, c.want, got)
		})
	}
	_, err := parse("/etc/b.toml", "[[tidy]]\nroot=\"r\"\nmatch=[\"*.log\"]\nmove_to=\"x\"\n[[push]]\nname=\"n\"\nkind=\"oci\"\nrepository=\"h/a\"")
	require.ErrorContains(t, err, "without [artifacts]")
	_, err = parse("/etc/b.toml", twoWatches+"[[push]]\nname=\"n\"\nkind=\"oci\"\nrepository=\"h/a\"\n[[push]]\nname=\"n\"\nkind=\"oci\"\nrepository=\"h/b\"")
	require.ErrorContains(t, err, `16: push.name: found "n", the name of an earlier [[push]], expected a name of its own`)
}
