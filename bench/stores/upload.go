package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

const (
	accessKey = "bench"
	secretKey = "secret-of-the-bench"
)

// upload measures commands that bring the same files into a store.
type upload struct {
	dir                string
	large, small, runs int
	keepAlive          bool

	program, address string
	gateway          *exec.Cmd
}

func (u *upload) run(ctx context.Context) (err error) {
	if u.dir, err = os.MkdirTemp(u.dir, "bundlewatch-stores."); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(u.dir)) }()
	u.program = filepath.Join(u.dir, "bundlewatch")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", u.program, "./cmd/bundlewatch")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build bundlewatch: %w\n%s", err, out)
	}
	if err := u.startGateway(); err != nil {
		return err
	}
	defer func() {
		_ = u.gateway.Process.Kill()
		_ = u.gateway.Wait()
	}()
	fmt.Printf("| what | command | seconds | MiB/s | bundles/s | peak RSS MiB |\n|---|---|---:|---:|---:|---:|\n")
	for _, set := range []struct {
		name          string
		count, floats int
	}{{"large", u.large, 1 << 28}, {"small", u.small, 500}} {
		if set.count == 0 {
			continue
		}
		if err := u.measure(ctx, set.name, set.count, set.floats); err != nil {
			return fmt.Errorf("%s: %w", set.name, err)
		}
	}
	return nil
}

func (u *upload) startGateway() error {
	program := cmp.Or(os.Getenv("BUNDLEWATCH_VERSITYGW"), "versitygw")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	u.address = l.Addr().String()
	l.Close()
	if err := os.MkdirAll(filepath.Join(u.dir, "store", "bundles"), 0o755); err != nil {
		return err
	}
	args := []string{"--port", u.address, "--access", accessKey, "--secret", secretKey, "--quiet"}
	if u.keepAlive {
		args = append(args, "--keep-alive")
	}
	u.gateway = exec.Command(program, append(args, "posix", filepath.Join(u.dir, "store"))...)
	if err := u.gateway.Start(); err != nil {
		return fmt.Errorf("start versitygw: %w", err)
	}
	for {
		conn, err := net.Dial("tcp", u.address)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// measure makes bundles and brings them into the store with each command in turn.
func (u *upload) measure(ctx context.Context, name string, count, floats int) error {
	work := filepath.Join(u.dir, name)
	if err := u.bundles(ctx, work, count, floats); err != nil {
		return err
	}
	artifacts := filepath.Join(work, "artifacts", "w")
	bytes, err := sizeOf(artifacts)
	if err != nil {
		return err
	}
	commands := []struct {
		name string
		run  func(to string) (result, error)
	}{
		{"bundlewatch", func(to string) (result, error) { return u.bundlewatch(ctx, work, to, count) }},
		{"aws s3 cp --recursive", func(to string) (result, error) {
			return u.other(ctx, "aws", "--endpoint-url", "http://"+u.address, "s3", "cp", "--recursive", "--only-show-errors", artifacts, "s3://bundles/"+to)
		}},
		{"rclone copy", func(to string) (result, error) {
			return u.other(ctx, "rclone", "copy", artifacts, ":s3:bundles/"+to)
		}},
		{"mc cp --recursive", func(to string) (result, error) {
			return u.other(ctx, "mc", "cp", "--quiet", "--recursive", artifacts, "bench/bundles/"+to)
		}},
	}
	results := make([][]result, len(commands))
	for n := range u.runs {
		for i, c := range commands {
			r, err := c.run(fmt.Sprintf("%s-%d-%d", name, n, i))
			if errors.Is(err, exec.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			results[i] = append(results[i], r)
			if err := u.empty(); err != nil {
				return err
			}
		}
	}
	for i, c := range commands {
		if len(results[i]) == 0 {
			fmt.Printf("| %s | `%s` | not installed | | | |\n", name, c.name)
			continue
		}
		slices.SortFunc(results[i], func(a, b result) int { return cmp.Compare(a.seconds, b.seconds) })
		r := results[i][len(results[i])/2]
		fmt.Printf("| %d %s | `%s` | %.2f | %.0f | %.1f | %d |\n", count, name, c.name, r.seconds, float64(bytes)/r.seconds/(1<<20), float64(count)/r.seconds, r.rss>>20)
	}
	return os.RemoveAll(work)
}

// result is what one run took.
type result struct {
	seconds float64
	rss     int64 // bytes
}

// bundles makes bundles without a store.
func (u *upload) bundles(ctx context.Context, work string, count, floats int) error {
	runs := filepath.Join(work, "runs", "r")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return err
	}
	// By another process: what this one has had in memory would count as that of its children.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, self, "make", runs, strconv.Itoa(count), strconv.Itoa(floats)).CombinedOutput(); err != nil {
		return fmt.Errorf("make checkpoints: %w\n%s", err, out)
	}
	if err := u.config(work, "x"); err != nil {
		return err
	}
	once := exec.CommandContext(ctx, u.program, "once", "--no-send", "--config", filepath.Join(work, "bundlewatch.toml"))
	if out, err := once.CombinedOutput(); err != nil {
		return fmt.Errorf("bundle: %w\n%.2000s", err, out)
	}
	return os.RemoveAll(filepath.Join(work, "runs", "r"))
}

// makeCheckpoints writes so many checkpoints of so many weights.
func makeCheckpoints(dir, count, floats string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	weights, err := strconv.Atoi(floats)
	if err != nil {
		return err
	}
	for i := range n {
		data, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, weights))), torchfile.Counting(weights, float32(i)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("m-%06d.pt", i)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (u *upload) config(work, prefix string) error {
	return os.WriteFile(filepath.Join(work, "bundlewatch.toml"), fmt.Appendf(nil, `[artifacts]
dir = "artifacts"
[status]
socket = "s.sock"
[[watch]]
name = "w"
root = "runs"
settle = "20ms"
[watch.members]
m = "{run...}/m-{step}.pt"
[[store]]
name = "bench"
endpoint = "http://%s"
bucket = "bundles"
prefix = %q
`, u.address, prefix), 0o644)
}

func (u *upload) environment() []string {
	// rclone cannot read a bundle of certificates that the environment names for the AWS tools.
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_CA_BUNDLE=") })
	return append(own, "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"RCLONE_S3_PROVIDER=Other", "RCLONE_S3_ENDPOINT=http://"+u.address, "RCLONE_S3_ACCESS_KEY_ID="+accessKey, "RCLONE_S3_SECRET_ACCESS_KEY="+secretKey,
		"RCLONE_S3_REGION=us-east-1", "RCLONE_CONFIG=/nonexistent", "MC_HOST_bench=http://"+accessKey+":"+secretKey+"@"+u.address)
}

// bundlewatch runs the daemon until all is sent and proved.
func (u *upload) bundlewatch(ctx context.Context, work, prefix string, count int) (result, error) {
	if err := u.config(work, prefix); err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, u.program, "run", "--config", filepath.Join(work, "bundlewatch.toml"))
	cmd.Env = u.environment()
	log, err := cmd.StderrPipe()
	if err != nil {
		return result{}, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	sent := 0
	for lines := bufio.NewScanner(log); sent < count && lines.Scan(); {
		if strings.Contains(lines.Text(), `"message":"bundle sent"`) {
			sent++
		}
	}
	r := result{seconds: time.Since(begun).Seconds()}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	err = cmd.Wait()
	r.rss = rss(cmd)
	if err == nil && sent < count {
		err = fmt.Errorf("%d of %d bundles were sent", sent, count)
	}
	return r, err
}

// other runs a tool to its end.
func (u *upload) other(ctx context.Context, name string, args ...string) (result, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = u.environment()
	var said bytes.Buffer
	cmd.Stderr = &said
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return result{}, fmt.Errorf("%w: %.500s", err, said.String())
	}
	return result{seconds: time.Since(begun).Seconds(), rss: rss(cmd)}, nil
}

func rss(cmd *exec.Cmd) int64 {
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}

// empty removes what was stored, so that the disk does not fill.
func (u *upload) empty() error {
	dir := filepath.Join(u.dir, "store", "bundles")
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func sizeOf(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}
