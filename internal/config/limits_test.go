package config

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

const oneWatch = "artifacts.dir = 'a'\n[[watch]]\nname = 'w'\nroot = 'r'\nmembers.a = '{run}.ckpt'\n"

func TestLimitsHTTPAndStatus(t *testing.T) {
	c, err := parse("/etc/b.toml", oneWatch)
	require.NoError(t, err)
	require.Equal(t, Limits{Workers: 2}, c.Limits)
	require.Zero(t, c.HTTP)
	require.Zero(t, c.Status)

	c, err = parse("/etc/b.toml", oneWatch+"[limits]\nworkers = 5\ncpu = '150%'\nread_rate = '1.5MiB'\nfree_space = '5GiB'\nkept_files = 7\n"+
		"[http]\nlisten = ':9464'\n[status]\nsocket = 's.sock'\n")
	require.NoError(t, err)
	require.Equal(t, Limits{Workers: 5, CPU: 150, ReadRate: 3 << 19, FreeSpace: Floor{Bytes: 5 << 30}, KeptFiles: 7}, c.Limits)
	require.Equal(t, "127.0.0.1:9464", c.HTTP.Listen, "without a host it is loopback")
	require.True(t, c.HTTP.Page)
	require.Empty(t, c.HTTP.Hosts)
	require.Equal(t, "/etc/s.sock", c.Status.Socket)

	c, err = parse("/etc/b.toml", oneWatch+"[limits]\nfree_space = '2.5%'\n[http]\nlisten = '0.0.0.0:80'\npage = false\nhosts = ['Box', 'b.example.org']\n")
	require.NoError(t, err)
	require.EqualValues(t, 25, c.Limits.FreeSpace.Of(1000))
	require.Zero(t, c.Limits.CPU)
	require.Equal(t, HTTP{Listen: "0.0.0.0:80", Hosts: []string{"box", "b.example.org"}}, c.HTTP)
}

func TestNoLimitOfCPU(t *testing.T) {
	for _, text := range []string{"0%", "0 %", "0.0%"} {
		c, err := parse("/etc/b.toml", oneWatch+"[limits]\ncpu = '"+text+"'\n")
		require.NoError(t, err)
		require.True(t, math.IsInf(c.Limits.CPU, 1), text)
	}
}

func TestLimitsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"[limits]\nworkers = 0":                     "limits.workers: found the number 0, expected a whole number from 1 to 64",
		"[limits]\nworkers = 1.5":                   "limits.workers: found the number 1.5, expected a whole number",
		"[limits]\nworkers = '2'":                   `limits.workers: found "2", expected a whole number`,
		"[limits]\ncpu = 50":                        `limits.cpu: found the number 50, expected a percentage of one processor in quotes`,
		"[limits]\ncpu = '50'":                      `limits.cpu: found "50", expected a percentage`,
		"[limits]\ncpu = '1e-9%'":                   `limits.cpu: found "1e-9%"`,
		"[limits]\ncpu = '-1%'":                     "limits.cpu: found",
		"[limits]\ncpu = 'Inf%'":                    "limits.cpu: found",
		"[limits]\ncpu = 'NaN%'":                    "limits.cpu: found",
		"[limits]\nread_rate = 5":                   "limits.read_rate: found the number 5, expected a size with its unit",
		"[limits]\nread_rate = '5'":                 `limits.read_rate: found "5", expected a size with its unit`,
		"[limits]\nread_rate = '-5MiB'":             "limits.read_rate: found",
		"[limits]\nread_rate = '9999999TB'":         "limits.read_rate: found",
		"[limits]\nfree_space = '101%'":             `limits.free_space: found "101%", expected a percentage`,
		"[limits]\nfree_space = 'NaN%'":             "limits.free_space: found",
		"[limits]\nfree_space = '5 apples'":         "limits.free_space: found",
		"[limits]\nkept_files = -1":                 "limits.kept_files: found the number -1",
		"[limits]\nworker = 1":                      `limits.worker: found an unknown key, expected one of "workers", "cpu", "read_rate", "free_space" or "kept_files", did you mean "workers"?`,
		"[http]\nlisten = '9464'":                   `http.listen: found "9464", expected an address with a port number`,
		"[http]\nlisten = 'a:http'":                 "http.listen: found",
		"[http]\nlisten = 'a:99999'":                "http.listen: found",
		"[http]\nlisten = ':1'\npage = 1":           "http.page: found the number 1, expected true or false",
		"[http]\nlisten = ':1'\nhosts = 'a'":        `http.hosts: found "a", expected an array`,
		"[http]\nlisten = ':1'\nhosts = ['a:1']":    `http.hosts[0]: found "a:1", expected the name of a host without a port`,
		"[http]\nlisten = ':1'\nhosts = ['http:/']": "http.hosts[0]: found",
		"[status]\nsocket = 1":                      "status.socket: found the number 1, expected a path",
	} {
		_, err := parse("/etc/b.toml", oneWatch+text+"\n")
		require.ErrorContains(t, err, want, text)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1B": 1, "1kB": 1000, "1KB": 1000, "1KiB": 1024, "2 MiB": 2 << 20, "1.5GB": 15e8, "3TiB": 3 << 40} {
		got, ok := parseSize(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "1", "B", "1kiB", "1XB", "1e3B", "1MiB ", "99999999TiB"} {
		_, ok := parseSize(text)
		require.False(t, ok, text)
	}
}
