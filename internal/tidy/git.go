package tidy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

const (
	gitPatience  = time.Minute // no answer takes longer
	maxGitOutput = 64 << 20    // bytes
)

// errNoGit tells that there is no git to run.
var errNoGit = errors.New("no git in $PATH")

// gitSettings take from a repository's own configuration whatever could run a program. They are stronger than
// any file that git reads, also than those that the configuration includes.
var gitSettings = []string{
	"core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false", "core.attributesFile=/dev/null",
	"core.excludesFile=/dev/null", "core.pager=cat", "core.editor=false", "core.sshCommand=false", "core.askPass=false", "core.gitProxy=",
	"core.alternateRefsCommand=true", "core.bare=false", "core.sparseCheckout=false", "credential.helper=", "diff.external=",
	"gpg.program=false", "protocol.allow=never", "submodule.recurse=false", "advice.detachedHead=false", "gc.auto=0", "maintenance.auto=false",
}

// environment is all that git is told from outside; variables of this process are not handed on.
func (r *repository) environment(workTree string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=/nonexistent", "XDG_CONFIG_HOME=/nonexistent",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_DIR=" + r.dir, "GIT_WORK_TREE=" + workTree, "GIT_CEILING_DIRECTORIES=/",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none",
		"GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "GIT_ASKPASS=/bin/false", "GIT_EDITOR=/bin/false", "GIT_SSH_COMMAND=/bin/false",
	}
}

// read runs git for an answer; it changes nothing, not even the index's memory of file times.
func (r *repository) read(ctx context.Context, input string, args ...string) (string, error) {
	return r.run(ctx, r.top, r.top, input, append([]string{"--no-optional-locks"}, args...)...)
}

// write runs git in an empty directory that stands for the work tree: it can change the index, and finds no
// file that it could feed to a filter of the repository.
func (r *repository) write(ctx context.Context, input string, args ...string) (err error) {
	dir, err := tree.Open(r.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	sweepEmpty(dir)
	name := ownPrefix + newID()
	if err := dir.MakeDir(name, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.RemoveDir(name)) }()
	empty, err := dir.Sub(name)
	if err != nil {
		return err
	}
	defer empty.Close()
	if err := dir.GiveTo(empty.File(), dir); err != nil { // git may not be root
		return err
	}
	_, err = r.run(ctx, empty.Path(), empty.Path(), input, args...)
	return err
}

// sweepEmpty removes the empty directories that crashes have left an hour ago or earlier.
func sweepEmpty(dir *tree.Dir) {
	names, err := dir.Names()
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, ownPrefix) {
			continue
		}
		if st, err := dir.Stat(name); err == nil && st.IsDir() && time.Since(st.Changed()) > time.Hour {
			_ = dir.RemoveDir(name) // it stays if it is not empty
		}
	}
}

func (r *repository) run(ctx context.Context, workTree, in, input string, args ...string) (string, error) {
	if err := r.mayRun(); err != nil {
		return "", err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return "", errNoGit
	}
	ctx, stop := context.WithTimeout(ctx, gitPatience)
	defer stop()
	command := []string{"--no-pager"}
	for _, setting := range gitSettings {
		command = append(command, "-c", setting)
	}
	cmd := exec.CommandContext(ctx, git, append(command, args...)...)
	out, complaint := &boundedBuffer{limit: maxGitOutput}, &boundedBuffer{limit: 4096, drop: true}
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = in, r.environment(workTree), strings.NewReader(input), out, complaint
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = r.asOwner()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	if cause := ctx.Err(); cause != nil {
		err = fmt.Errorf("no answer within %v: %w", gitPatience, cause)
	}
	if err != nil {
		return out.String(), &gitError{verb: args, dir: r.dir, err: err, said: strings.TrimSpace(complaint.String())}
	}
	return out.String(), nil
}

// asOwner gives git a process group of its own, so that nothing of it stays, and the rights of the owner alone.
func (r *repository) asOwner() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 && r.uid != 0 {
		gid := r.gid
		if u, err := user.LookupId(strconv.FormatUint(uint64(r.uid), 10)); err == nil {
			if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
				gid = uint32(n)
			}
		}
		attr.Credential = &syscall.Credential{Uid: r.uid, Gid: gid}
	}
	return attr
}

// gitError is a git that failed.
type gitError struct {
	verb []string
	dir  string
	err  error
	said string
}

func (e *gitError) Error() string {
	verb := e.verb[0]
	for _, word := range e.verb {
		if verb = word; !strings.HasPrefix(word, "--") {
			break
		}
	}
	text := fmt.Sprintf("git %s of %q: %v", verb, e.dir, e.err)
	if e.said != "" {
		text += ": " + visible(e.said)
	}
	return text
}

func (e *gitError) Unwrap() error { return e.err }

// exitCode returns with which code git ended, -1 when it did not.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// boundedBuffer keeps so many bytes; what comes then is an error, or dropped.
type boundedBuffer struct {
	bytes.Buffer
	limit int
	drop  bool
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.Len()
	if len(p) <= room {
		return b.Buffer.Write(p)
	}
	if !b.drop {
		return 0, fmt.Errorf("more than %d bytes", b.limit)
	}
	b.Buffer.Write(p[:max(room, 0)])
	return len(p), nil
}
