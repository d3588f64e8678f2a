package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// shell is a block that runs a script with a folder as $1.
func shell(t *testing.T, script string) (config.Notify, string) {
	t.Helper()
	dir := t.TempDir()
	b := block("cmd")
	b.Command = []string{"/bin/sh", "-c", script, "sh", dir}
	b.Retries = 0
	return b, dir
}

func file(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

// gone makes sure that the process whose number is in a file has ended.
func gone(t *testing.T, dir, name string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(file(t, dir, name)))
	require.NoError(t, err)
	eventually(t, "it has ended", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return errors.Is(unix.Kill(pid, 0), unix.ESRCH) || err == nil && bytes.Contains(stat, []byte(") Z ")) // of who does not reap
	})
}

func TestCommand(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("LANG", "C.UTF-8")
	b, dir := shell(t, `cat >$1/stdin; env -0 >$1/env; pwd >$1/pwd`)
	n := start(t, options(), b)
	hostile := publish("r\x1b[2J\n\xff\"'`touch " + dir + "/hacked`$(touch " + dir + "/hacked);() { :;}; touch " + dir + "/hacked")
	hostile.Reason = "a\x00b"
	n.Tell(hostile)
	eventually(t, "it is run", func() bool { return n.only().Delivered == 1 })
	var m Message
	require.NoError(t, json.Unmarshal([]byte(file(t, dir, "stdin")), &m))
	require.Equal(t, strings.ReplaceAll(hostile.Key, "\xff", "\uFFFD"), m.Key)
	env := strings.Split(file(t, dir, "env"), "\x00")
	require.Contains(t, env, "BUNDLEWATCH_EVENT=publish")
	require.Contains(t, env, "BUNDLEWATCH_KEY="+hostile.Key, "byte by byte")
	require.Contains(t, env, "BUNDLEWATCH_REASON=a\uFFFDb")
	require.Contains(t, env, "LANG=C.UTF-8")
	require.NotContains(t, file(t, dir, "env"), "NOTIFY_SOCKET")
	require.Equal(t, "/\n", file(t, dir, "pwd"))
	require.NoFileExists(t, filepath.Join(dir, "hacked"))
	require.Equal(t, "/bin/sh", n.only().To)
}

func TestCommandThatReadsNothing(t *testing.T) {
	b, _ := shell(t, `exec 0<&-; exit 0`)
	n := start(t, options(), b)
	big := publish("1")
	for range 4000 {
		big.Waits = append(big.Waits, strings.Repeat("x", 100))
	}
	n.Tell(big)
	eventually(t, "it is run", func() bool { return n.only().Delivered == 1 })
}

func TestCommandThatFails(t *testing.T) {
	b, _ := shell(t, `echo one >&2; printf 'two\033[2J' >&2; exit 3`)
	b.Retries = 2
	n := start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it is given up", func() bool { return n.only().Failed == 1 })
	require.Equal(t, 2, n.only().Retried)
	require.Equal(t, `run "/bin/sh": exit status 3; it said "one\ntwo\x1b[2J"`, n.only().Error)

	b.Command, b.Retries = []string{"/nowhere/program"}, 0
	n = start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it is given up", func() bool { return n.only().Failed == 1 })
	require.Contains(t, n.only().Error, "no such file")
}

// Nothing that ignores SIGTERM, or was forked, outlives its time.
func TestCommandThatHangs(t *testing.T) {
	b, dir := shell(t, `trap '' TERM; echo $$ >$1/pid; (trap '' TERM; sh -c 'echo $$' >$1/child.new; sleep 1000 & echo $! >$1/child; wait) & wait; sleep 1000`)
	b.Timeout = 500 * time.Millisecond
	n := start(t, options(), b)
	eventually(t, "it is ended before it could say what it is", func() bool {
		n.Tell(publish("1"))
		failed := n.only().Failed
		eventually(t, "it is ended", func() bool { return n.only().Failed > failed || n.only().Queued == 0 })
		_, err := os.Stat(filepath.Join(dir, "child"))
		return err == nil
	})
	require.Contains(t, n.only().Error, "it took longer than 500ms and was ended")
	gone(t, dir, "pid")
	gone(t, dir, "child")
}

// What a program leaves behind in its group ends with it, and holds nothing up, though it has the output.
func TestCommandThatForks(t *testing.T) {
	b, dir := shell(t, `sleep 1000 & echo $! >$1/child; exit 0`)
	n := start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it is delivered", func() bool { return n.only().Delivered == 1 })
	gone(t, dir, "child")
}

// Who has left the group lives on, and holds nothing up for long.
func TestCommandThatLeavesItsGroup(t *testing.T) {
	b, dir := shell(t, `setsid sh -c 'echo $$ >$1/child.new; mv $1/child.new $1/child; exec sleep 1000' sh $1 & while ! test -e $1/child; do sleep 0.01; done`)
	n := start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it is delivered", func() bool { return n.only().Delivered == 1 })
	pid, err := strconv.Atoi(strings.TrimSpace(file(t, dir, "child")))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
}

func TestCommandEndsWithTheDaemon(t *testing.T) {
	b, dir := shell(t, `echo $$ >$1/pid.new; mv $1/pid.new $1/pid; sleep 1000`)
	n := start(t, options(), b)
	n.Tell(publish("1"))
	eventually(t, "it runs", func() bool { _, err := os.Stat(filepath.Join(dir, "pid")); return err == nil })
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	n.Close(ctx)
	gone(t, dir, "pid")
	require.Contains(t, n.only().Error, "it was ended, because the daemon ends")
}
