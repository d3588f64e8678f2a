package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const notifyHead = "[artifacts]\ndir = \"/a\"\nbudget = \"2GiB\"\n[[watch]]\nname = \"w\"\nroot = \"/r\"\nmembers = { m = \"{run}/m.pt\" }\n"

func TestNotify(t *testing.T) {
	c, err := Parse("/etc/b.toml", notifyHead+`[[notify]]
name = "page"
events = ["alert", "refusal", "alert"]
watches = ["w"]
command = ["bin/page", "--now", ""]
timeout = "2s"
retries = 0
[[notify]]
name = "hook"
events = ["publish"]
url_file = "hook.url"
secret_file = "/s"
`)
	require.NoError(t, err)
	require.EqualValues(t, 2<<30, c.Artifacts.Budget)
	require.Equal(t, Alerts{StalledIntervals: 3, StalledLeast: 10 * time.Minute, DestinationDown: 15 * time.Minute, DestinationBehind: 24 * time.Hour}, c.Alerts)
	require.Equal(t, []Notify{
		{Name: "page", Events: []NotifyEvent{NotifyAlert, NotifyRefusal}, Watches: []string{"w"}, Command: []string{"/etc/bin/page", "--now", ""}, Timeout: 2 * time.Second, Queue: 256},
		{Name: "hook", Events: []NotifyEvent{NotifyPublish}, URLFile: "/etc/hook.url", SecretFile: "/s", Timeout: 10 * time.Second, Retries: 8, Queue: 256},
	}, c.Notify)
}

func TestNotifyProblems(t *testing.T) {
	const block = "[[notify]]\nname = \"n\"\nevents = [\"alert\"]\n"
	for text, want := range map[string]string{
		"[artifacts]\nbudget = \"0\"": `found`, // a second [artifacts]
		block:                         `/c.toml:8: notify: found nothing to run and nowhere to post to, expected one of "command", "url" or "url_file"`,
		"[[notify]]\nurl = \"https://h/\"\nevents = [\"alert\"]":                   `/c.toml:8: notify.name: found nothing, expected a string`,
		"[[notify]]\nname = \"n\"\nurl = \"https://h/\"":                           `/c.toml:8: notify.events: found nothing, expected one or more of "publish"`,
		"[[notify]]\nname = \"n\"\nurl = \"https://h/\"\nevents = []":              `/c.toml:11: notify.events: found an empty array, expected one or more`,
		"[[notify]]\nname = \"n\"\nurl = \"https://h/\"\nevents = [\"published\"]": `/c.toml:11: notify.events[0]: found "published", expected "publish", "refusal", "failure", "expired", "prune" or "alert", did you mean "publish"?`,
		block + "url = \"ftp://h/\"":                                               `/c.toml:11: notify.url: found "ftp://h/", expected a URL such as`,
		block + "url = \"https://u:p@h/\"":                                         `put a token into token_file`,
		block + "url = \"https://h/\"\ncommand = [\"x\"]":                          `/c.toml:11: notify.url: found url beside command, expected only one of`,
		block + "url = \"http://example.org/\"\ntoken_file = \"t\"":                `/c.toml:12: notify.token_file: found a token for "http://example.org/", expected a URL with https`,
		block + "command = \"page --now\"":                                         `/c.toml:11: notify.command: found "page --now", expected an array of strings in [ ]: the program and each argument by itself`,
		block + "command = []":                                                     `/c.toml:11: notify.command: found an empty array`,
		block + "command = [1]":                                                    `/c.toml:11: notify.command[0]: found the number 1, expected a string in quotes`,
		block + "command = [\"x\"]\nsecret_file = \"s\"":                           `/c.toml:12: notify.secret_file: found secret_file beside command, expected it with url or url_file only`,
		block + "command = [\"x\"]\nwatches = [\"v\"]":                             `/c.toml:12: notify.watches[0]: found "v", expected the name of a [[watch]]: "w"`,
		block + "command = [\"x\"]\ntimeout = \"1h\"":                              `expected at most "5m"`,
		block + "command = [\"x\"]\nretries = -1":                                  `expected a whole number from 0 to 100`,
		block + "command = [\"x\"]\nqueue = 0":                                     `expected a whole number from 1 to 10000`,
		block + "command = [\"x\"]\n" + block + "command = [\"x\"]":                `found "n", the name of an earlier block`,
		block + "command = [\"x\"]\nretry = 1":                                     `notify.retry: found an unknown key`,
		"[alerts]\nstalled_intervals = 2.5":                                        `/c.toml:9: alerts.stalled_intervals: found the number 2.5`,
		"[alerts]\nstalled_least = \"1ms\"":                                        `expected at least "1s"`,
	} {
		_, err := Parse("/c.toml", notifyHead+text)
		require.ErrorContains(t, err, want, text)
	}
	_, err := Parse("/c.toml", "[artifacts]\ndir = \"/a\"\nbudget = \"0\"\n")
	require.ErrorContains(t, err, `/c.toml:3: artifacts.budget: found "0", expected a size`)
}

// What the example shows in comments is what can be written.
func TestExampleOfNotifyInComments(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "..", "bundlewatch.toml"))
	require.NoError(t, err)
	_, block, found := strings.Cut(string(src), "#\n# [retention]")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "\n\n")
	c, err := Parse("/c.toml", string(src)+"\n[retention]"+strings.ReplaceAll(block, "\n# ", "\n"))
	require.NoError(t, err)
	require.Equal(t, 10, c.Watches[0].Retention.KeepLast)
	require.Equal(t, "chat", c.Notify[0].Name)
	require.NotEmpty(t, c.Notify[0].SecretFile)
}
