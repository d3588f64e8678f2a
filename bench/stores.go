package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
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
	storeKey    = "bench"
	storeSecret = "secret-of-the-bench"

	// What every uploader is told, which is what bundlewatch does by itself.
	uploadPart     = "64" // MiB
	uploadParallel = "4"

	// uploadMemory is the most that bundlewatch may take, in bytes, whatever it sends.
	uploadMemory = 128 << 20
)

// stores compares the ways to bring bundles into an S3 store: a versitygw on loopback. It fails when bundlewatch takes
// more than uploadMemory.
func (b *bench) stores() error {
	s := &storage{bench: b, dir: filepath.Join(b.dir, "stores")}
	defer os.RemoveAll(s.dir)
	if err := s.start(); err != nil {
		return err
	}
	defer s.stop()
	if err := s.writeSettings(); err != nil {
		return err
	}
	small := bundleSet{what: "bundles of some KiB", count: 1000, weights: 500, runs: b.runs}
	if b.quick {
		small.count = 200
	}
	if b.full {
		small.count, small.runs = 10_000, 1
	}
	for _, set := range []bundleSet{{what: "bundles of 1 GiB", count: 2, weights: 1 << 28, runs: b.runs}, small} {
		if err := s.compare(set); err != nil {
			return fmt.Errorf("%d %s: %w", set.count, set.what, err)
		}
	}
	return nil
}

// storage is a store, and what is brought into it.
type storage struct {
	*bench
	dir, address string
	gateway      *exec.Cmd
}

// bundleSet is so many bundles with one member of so many weights.
type bundleSet struct {
	what           string
	count, weights int
	runs           int // times that each uploader is run
}

// uploader is a command that brings the bundles below a directory into the store, at a prefix. It is done when the
// store has all of them.
type uploader struct {
	name, program string
	upload        func(s *storage, program, from, to string, count int) (sample, error)
}

func uploaders() []uploader {
	tool := func(args func(s *storage, from, to string) []string) func(*storage, string, string, string, int) (sample, error) {
		return func(s *storage, program, from, to string, _ int) (sample, error) {
			return s.run(exec.Command(program, args(s, from, to)...))
		}
	}
	return []uploader{
		{"bundlewatch", "", (*storage).watch},
		{"aws s3 cp --recursive", "aws", tool(func(s *storage, from, to string) []string {
			return []string{"--endpoint-url", "http://" + s.address, "s3", "cp", "--recursive", "--only-show-errors", "--checksum-algorithm", "SHA256", from, "s3://bundles/" + to}
		})},
		{"rclone copy", "rclone", tool(func(_ *storage, from, to string) []string {
			return []string{"copy", "--transfers", uploadParallel, "--s3-upload-concurrency", uploadParallel, "--s3-chunk-size", uploadPart + "Mi",
				"--s3-upload-cutoff", uploadPart + "Mi", "--s3-no-check-bucket", from, ":s3:bundles/" + to}
		})},
		{"mc cp --recursive", "mc", tool(func(_ *storage, from, to string) []string {
			return []string{"cp", "--quiet", "--recursive", from + "/", "bench/bundles/" + to + "/"}
		})},
	}
}

// program is where an uploader is: $BUNDLEWATCH_AWS and so on, or in the PATH. It is "" where it is not.
func (s *storage) where(u uploader) string {
	if u.program == "" {
		return s.program
	}
	path, err := exec.LookPath(cmp.Or(os.Getenv("BUNDLEWATCH_"+strings.ToUpper(u.program)), u.program))
	if err != nil {
		return ""
	}
	return path
}

func (s *storage) start() error {
	program, err := exec.LookPath(cmp.Or(os.Getenv("BUNDLEWATCH_VERSITYGW"), "versitygw"))
	if err != nil {
		return fmt.Errorf("there is no store to measure with, bench/run.sh builds it: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	if err := errors.Join(l.Close(), os.MkdirAll(s.bucket(), 0o755)); err != nil {
		return err
	}
	s.gateway = exec.Command(program, "--port", s.address, "--access", storeKey, "--secret", storeSecret, "--quiet", "posix", filepath.Dir(s.bucket()))
	if err := s.gateway.Start(); err != nil {
		return fmt.Errorf("start versitygw: %w", err)
	}
	for range 500 {
		if conn, err := net.Dial("tcp", s.address); err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.stop()
	return fmt.Errorf("versitygw does not listen on %s", s.address)
}

func (s *storage) stop() {
	_ = s.gateway.Process.Kill()
	_ = s.gateway.Wait()
}

// bucket is where the gateway keeps what is stored.
func (s *storage) bucket() string { return filepath.Join(s.dir, "store", "bundles") }

func (s *storage) awsConfig() string { return filepath.Join(s.dir, "aws") }

// writeSettings writes what the tools of AWS take from a file alone.
func (s *storage) writeSettings() error {
	return os.WriteFile(s.awsConfig(), []byte("[default]\nregion = us-east-1\ns3 =\n  max_concurrent_requests = "+uploadParallel+
		"\n  multipart_chunksize = "+uploadPart+"MB\n  multipart_threshold = "+uploadPart+"MB\n"), 0o644)
}

func (s *storage) environment() []string {
	// rclone cannot read a bundle of certificates that the environment names for the AWS tools.
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_CA_BUNDLE=") })
	return append(own, "AWS_ACCESS_KEY_ID="+storeKey, "AWS_SECRET_ACCESS_KEY="+storeSecret, "AWS_CONFIG_FILE="+s.awsConfig(), "AWS_EC2_METADATA_DISABLED=true",
		"RCLONE_S3_PROVIDER=Other", "RCLONE_S3_ENDPOINT=http://"+s.address, "RCLONE_S3_ACCESS_KEY_ID="+storeKey, "RCLONE_S3_SECRET_ACCESS_KEY="+storeSecret,
		"RCLONE_S3_REGION=us-east-1", "RCLONE_CONFIG=/nonexistent", "MC_CONFIG_DIR="+filepath.Join(s.dir, "mc"), "MC_HOST_bench=http://"+storeKey+":"+storeSecret+"@"+s.address,
		"MC_UPLOAD_MULTIPART_SIZE="+uploadPart+"MiB", "MC_UPLOAD_MULTIPART_THREADS="+uploadParallel)
}

// compare makes the bundles and brings them into the store with each command in turn.
func (s *storage) compare(set bundleSet) error {
	work := filepath.Join(s.dir, "work")
	if err := s.makeBundles(work, set); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	from := filepath.Join(work, "artifacts", "w")
	bytes, err := sizeOf(from)
	if err != nil {
		return err
	}
	all := uploaders()
	samples := make([][]sample, len(all))
	for round := range set.runs {
		for n := range all {
			i := (n + round) % len(all) // nobody always comes after the same other
			program := s.where(all[i])
			if program == "" {
				continue
			}
			if err := warmTree(from); err != nil {
				return err
			}
			took, err := all[i].upload(s, program, from, fmt.Sprintf("%d-%d", round, i), set.count)
			if err == nil {
				err = s.empty(bytes)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			samples[i] = append(samples[i], took)
		}
	}
	return s.report(set, bytes, all, samples)
}

// warmTree reads all files below a directory, and writes everything else to the disk.
func warmTree(dir string) error {
	syncAll(dir)
	if out, err := exec.Command("sh", "-c", `find "$1" -type f -exec cat {} + >/dev/null`, "sh", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("read %s: %w\n%s", dir, err, out)
	}
	return nil
}

// report prints the table. Speeds and ratios are those of the fastest run of each: other work on the machine only adds
// time.
func (s *storage) report(set bundleSet, bytes int64, all []uploader, samples [][]sample) error {
	seconds := func(s sample) float64 { return s.seconds }
	best := func(of []sample) float64 { return slices.MinFunc(of, bySeconds).seconds }
	fastest := math.Inf(1)
	for _, of := range samples[1:] {
		if len(of) > 0 {
			fastest = min(fastest, best(of))
		}
	}
	s.printf("\n| %d %s | fastest of %d | median | MiB/s | bundles/s | speed, fastest of the others = 1 | CPU | peak RSS |\n|---|---:|---:|---:|---:|---:|---:|---:|\n", set.count, set.what, set.runs)
	var missing []string
	for i, u := range all {
		if len(samples[i]) == 0 {
			missing = append(missing, u.program)
			continue
		}
		took := best(samples[i])
		s.printf("| `%s` | %.2f s | %.2f s | %.1f | %.1f | %.2f | %.2f s | %s |\n", u.name, took, median(samples[i], seconds), float64(bytes)/took/(1<<20), float64(set.count)/took, fastest/took,
			median(samples[i], func(s sample) float64 { return s.cpu }), mib(most(samples[i])))
	}
	if len(missing) > 0 {
		s.printf("\nNot installed: %s.\n", strings.Join(missing, ", "))
	}
	if peak := most(samples[0]); peak > uploadMemory {
		return fmt.Errorf("bundlewatch took %s of memory, which is more than %s", mib(peak), mib(uploadMemory))
	}
	return nil
}

func bySeconds(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) }

func most(samples []sample) int64 {
	return slices.MaxFunc(samples, func(a, b sample) int { return cmp.Compare(a.rss, b.rss) }).rss
}

// makeBundles makes the bundles below work/artifacts, without a store.
func (s *storage) makeBundles(work string, set bundleSet) error {
	runs := filepath.Join(work, "runs", "r")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command(s.self, "checkpoints", runs, strconv.Itoa(set.count), strconv.Itoa(set.weights)).CombinedOutput(); err != nil {
		return fmt.Errorf("make checkpoints: %w\n%s", err, out)
	}
	if err := s.configure(work, "none"); err != nil { // once sends nothing, but notes the digests of parts of this size
		return err
	}
	if out, err := exec.Command(s.program, "once", "--no-send", "--config", filepath.Join(work, "bundlewatch.toml")).CombinedOutput(); err != nil {
		return fmt.Errorf("bundle: %w\n%.2000s", err, out)
	}
	return os.RemoveAll(runs)
}

// makeCheckpoints writes checkpoints into a directory: DIR COUNT WEIGHTS.
func makeCheckpoints(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	weights, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	for i := range count {
		data, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, weights))), torchfile.Counting(weights, float32(i)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(args[0], fmt.Sprintf("m-%06d.pt", i)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the config, with a prefix in the store.
func (s *storage) configure(work, prefix string) error {
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
parallel = %s
part_size = "%sMiB"
`, s.address, prefix, uploadParallel, uploadPart), 0o644)
}

// watch runs the daemon until all is sent and proved.
func (s *storage) watch(program, from, to string, count int) (sample, error) {
	work := filepath.Dir(filepath.Dir(from))
	if err := s.configure(work, to); err != nil {
		return sample{}, err
	}
	cmd := exec.Command(program, "run", "--config", filepath.Join(work, "bundlewatch.toml"))
	cmd.Env = s.environment()
	log, err := cmd.StderrPipe()
	if err != nil {
		return sample{}, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	sent := 0
	for lines := bufio.NewScanner(log); sent < count && lines.Scan(); {
		if strings.Contains(lines.Text(), `"message":"bundle sent"`) {
			sent++
		}
	}
	took := sample{seconds: time.Since(begun).Seconds(), rss: peakOf(cmd.Process.Pid)}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	err = cmd.Wait()
	took.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if err == nil && sent < count {
		err = fmt.Errorf("%d of %d bundles were sent", sent, count)
	}
	return took, err
}

// run runs a tool to its end.
func (s *storage) run(cmd *exec.Cmd) (sample, error) {
	cmd.Env = s.environment()
	var said bytes.Buffer
	cmd.Stderr = &said
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	// Not from what the kernel says when it ended: that counts the memory of who starts a command as the command's.
	ended, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for {
			most = max(most, peakOf(cmd.Process.Pid))
			select {
			case <-ended:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	err := cmd.Wait()
	took := sample{seconds: time.Since(begun).Seconds()}
	close(ended)
	took.rss = <-peak
	took.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if err != nil {
		return sample{}, fmt.Errorf("%w: %.500s", err, said.String())
	}
	return took, nil
}

// empty removes what was stored, so that the disk does not fill. It fails when that is less than the bundles have.
func (s *storage) empty(bytes int64) error {
	stored, err := sizeOf(s.bucket())
	if err == nil && stored < bytes {
		err = fmt.Errorf("it put %d bytes of %d into the store", stored, bytes)
	}
	entries, readErr := os.ReadDir(s.bucket())
	err = errors.Join(err, readErr)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.bucket(), e.Name())))
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
