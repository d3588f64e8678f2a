package provenance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeProcess writes what /proc has of a process.
func fakeProcess(t *testing.T, proc string, pid, parent int, files map[string]string) string {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	for _, sub := range []string{"fd", "fdinfo"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	for name, text := range map[string]string{"stat": statOf(pid, parent, "python"), "status": "Name:\tpython\nUid:\t1\t4294967294\t3\t4\n", "environ": "", "cgroup": "0::/\n"} {
		if text, ok := files[name]; ok {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			continue
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func statOf(pid, parent int, name string) string {
	return fmt.Sprintf("%d (%s) S %d%s 4711%s", pid, name, parent, strings.Repeat(" 1", 17), strings.Repeat(" 1", 20))
}

// fakeOpen gives a process an open file.
func fakeOpen(t *testing.T, dir string, descriptor int, target, flags string) {
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "fd", strconv.Itoa(descriptor))))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fdinfo", strconv.Itoa(descriptor)), []byte("pos:\t0\nflags:\t"+flags+"\nmnt_id:\t1\n"), 0o644))
}

func fileAt(t *testing.T, path string) File {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_CREATE, 0o644)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return File{path, st.Dev, st.Ino}
}

func TestDescribe(t *testing.T) {
	proc := t.TempDir()
	const pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_9abc_def0_1234_56789abcdef0.slice/cri-containerd-"
	id := strings.Repeat("0123456789abcdef", 4)
	dir := fakeProcess(t, proc, 100, 1, map[string]string{
		"environ": "SLURM_JOB_ID=42\x00SLURM_JOB_NAME=a\nb\xff\x00AWS_SECRET_ACCESS_KEY=secret1\x00WANDB_API_KEY=secret2\x00SLURM_JOB_ID_TOKEN=secret3\x00" +
			"slurm_job_id=43\x00NOTHING\x00RANK=\x00POD_NAME=" + strings.Repeat("x", 5000) + "\x00HF_TOKEN=secret4",
		"cgroup": "3:cpu:/short\n0::" + pod + id + ".scope\n",
		"stat":   statOf(100, 1, "py\x1b[3) on"),
	})
	require.NoError(t, os.Symlink("/usr/bin/python3.11 (deleted)", filepath.Join(dir, "exe")))
	require.NoError(t, os.Symlink("/home/me/project", filepath.Join(dir, "cwd")))
	p, parent, ok := identify(proc, 100)
	require.True(t, ok)
	require.Equal(t, process{100, "4711", "py\x1b[3) on"}, p)
	w := describe(proc, p, parent)
	require.Equal(t, Writer{PID: 100, id: p, parent: 1, Cwd: "/home/me/project", Exe: "/usr/bin/python3.11 (deleted)",
		Command: "py?[3) on", UID: 4294967294, Cgroup: Clip(pod + id + ".scope"),
		Environment: map[string]string{"SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "a?b?", "RANK": "", "POD_NAME": strings.Repeat("x", maxText) + "…"},
		PodUID:      "12345678-9abc-def0-1234-56789abcdef0", ContainerID: id}, w)
	require.NotContains(t, fmt.Sprintf("%+v", w), "secret")
}

func TestControlGroups(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for group, want := range map[string]Writer{
		"0::/system.slice/slurmstepd.scope/job_1234/step_0/user/task_0":         {SlurmJob: "1234"},
		"4:memory:/slurm/uid_1000/job_77/step_batch":                            {SlurmJob: "77"},
		"0::/user.slice/job_77":                                                 {},
		"0::/docker/" + id:                                                      {ContainerID: id},
		"0::/system.slice/docker-" + id + ".scope":                              {ContainerID: id},
		"0::/kubepods/besteffort/pod12345678-9abc-def0-1234-56789abcdef0/" + id: {ContainerID: id, PodUID: "12345678-9abc-def0-1234-56789abcdef0"},
		"0::/user.slice/user-1000.slice/session-2.scope":                        {},
		"":         {},
		"nonsense": {},
	} {
		var w Writer
		w.setCgroup(group)
		w.Cgroup = ""
		require.Equal(t, want, w, group)
	}
}

func TestAllowedNamesHoldNoSecrets(t *testing.T) {
	for _, name := range Allowed {
		for _, word := range []string{"KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH"} {
			require.NotContains(t, name, word)
		}
	}
}

func TestWitness(t *testing.T) {
	proc, root := t.TempDir(), t.TempDir()
	member, gone := fileAt(t, root+"/m/last.ckpt"), fileAt(t, root+"/m/gone.ckpt")
	trainer := fakeProcess(t, proc, 100, 1, nil)
	fakeOpen(t, trainer, 3, member.Path, "0100001")
	fakeOpen(t, trainer, 4, root+"/r1/logs/events.out (deleted)", "02")
	fakeOpen(t, trainer, 5, "socket:[1]", "02")
	worker := fakeProcess(t, proc, 101, 100, nil)
	fakeOpen(t, worker, 4, root+"/r1/logs/events.out", "02")
	reader := fakeProcess(t, proc, 102, 1, nil)
	fakeOpen(t, reader, 3, root+"/r1/logs/events.out", "0100000")
	fakeOpen(t, reader, 4, gone.Path, "0100000")
	other := fakeProcess(t, proc, 103, 1, nil)
	fakeOpen(t, other, 3, root+"/r10/log", "01")
	fakeProcess(t, proc, 104, 1, map[string]string{"stat": "104 (cut"})
	require.NoError(t, os.WriteFile(filepath.Join(proc, "105"), nil, 0o644))

	w := NewWitness(proc)
	defer w.Close()
	w.See(member, true)
	w.See(gone, true)
	saw := func(files []File, dir string) []string {
		var all []string
		for _, p := range w.Writers(t.Context(), files, root, dir) {
			require.Equal(t, "python", p.Command)
			all = append(all, fmt.Sprint(p.PID, " ", strings.ReplaceAll(p.Saw, root, "")))
		}
		return all
	}
	require.Eventually(t, func() bool { return len(saw([]File{member}, "")) > 0 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, []string{"100 writing /m/last.ckpt"}, saw([]File{member, gone}, ""))
	require.Equal(t, []string{"100 writing /m/last.ckpt"}, saw([]File{member}, root+"/r1"), "of a worker that inherited a file the parent is told")
	require.Equal(t, []string{"100 open for writing: /r1/logs/events.out"}, saw(nil, root+"/r1"))
	require.Eventually(t, func() bool { return len(saw(nil, root+"/r10")) > 0 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, []string{"103 open for writing: /r10/log"}, saw(nil, root+"/r10"))
	require.Empty(t, saw([]File{{Path: member.Path, Dev: member.Dev, Ino: member.Ino + 1}}, ""), "another file of the same name")

	require.NoError(t, os.RemoveAll(other))
	require.Empty(t, saw(nil, root+"/r10"), "the process ended")
}

// A process that runs another program, as a shell that was told to exec, is described anew.
func TestWriterThatRunsAnotherProgram(t *testing.T) {
	proc, root := t.TempDir(), t.TempDir()
	member := fileAt(t, root+"/m/last.ckpt")
	dir := fakeProcess(t, proc, 100, 1, map[string]string{"stat": statOf(100, 1, "sh")})
	fakeOpen(t, dir, 3, member.Path, "0100001")
	w := NewWitness(proc)
	defer w.Close()
	command := func() string {
		w.See(member, false)
		all := w.Writers(t.Context(), []File{member}, root, "")
		require.Less(t, len(all), 2)
		return append(all, Writer{})[0].Command
	}
	require.Eventually(t, func() bool { return command() == "sh" }, time.Minute, 10*time.Millisecond)
	fakeProcess(t, proc, 100, 1, nil)
	require.Eventually(t, func() bool { return command() == "python" }, time.Minute, 10*time.Millisecond)
}

// A scan that ends for want of time goes on behind the process where it ended.
func TestScansGoOnWhereTheyEnded(t *testing.T) {
	proc := t.TempDir()
	for pid := range 10 {
		fakeProcess(t, proc, pid+1, 0, nil)
	}
	w := &Witness{proc: proc, wanted: map[File]int{}, writers: map[File][]Writer{}, known: map[process]Writer{}, covered: map[string]time.Time{}, roots: []string{"/r"}, resume: 7}
	require.Len(t, w.pids(), 10)
	w.scan("")
	require.Zero(t, w.resume, "there was time for all")
	require.Contains(t, w.covered, "/r")
	require.True(t, w.nextScan.After(time.Now().Add(-time.Minute)))
}

// A witness is bounded whatever it is told, and nobody waits for one that is gone.
func TestWitnessIsBounded(t *testing.T) {
	w := NewWitness(t.TempDir())
	for i := range 10 * maxWanted {
		w.See(File{Path: strconv.Itoa(i)}, false)
	}
	require.Empty(t, w.Writers(t.Context(), nil, "/", "/r"))
	w.Close()
	require.Empty(t, w.Writers(context.Background(), nil, "/", "/r"))
	w.See(File{}, true)

	w = &Witness{known: map[process]Writer{}, wanted: map[File]int{}, writers: map[File][]Writer{}}
	for i := range maxSeen + 100 {
		for pid := range maxWriters + 1 {
			w.note(File{Ino: uint64(i)}, Writer{PID: pid})
		}
	}
	require.Len(t, w.writers, maxSeen)
	require.Len(t, w.order, maxSeen)
	require.Len(t, w.writers[File{Ino: maxSeen}], maxWriters)
	require.NotContains(t, w.writers, File{Ino: 0})
}

// A real process that writes is seen, with what it is.
func TestRealWriter(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	member := fileAt(t, dir+"/r1/last.ckpt")
	writer := exec.Command("sh", "-c", `exec 3>"$0" 4>"$1"; cd "$2"; exec sleep 600`, member.Path, dir+"/r1/train.log", dir)
	writer.Env = []string{"PATH=" + os.Getenv("PATH"), "SLURM_JOB_ID=4711", "API_KEY=secret"}
	require.NoError(t, writer.Start())
	defer func() {
		require.NoError(t, writer.Process.Kill())
		writer.Wait() //nolint:errcheck // it was killed
	}()
	w := NewWitness("/proc")
	defer w.Close()
	var found []Writer
	require.Eventually(t, func() bool {
		w.See(member, false)
		found = w.Writers(t.Context(), []File{member}, dir, "")
		return len(found) == 1 && filepath.Base(found[0].Exe) == "sleep" || len(found) == 1 && strings.Contains(found[0].Exe, "box") // busybox, coreutils
	}, time.Minute, 50*time.Millisecond, "%+v", found)
	require.Equal(t, writer.Process.Pid, found[0].PID)
	require.Equal(t, map[string]string{"SLURM_JOB_ID": "4711"}, found[0].Environment)
	require.Equal(t, dir, found[0].Cwd)
	require.Equal(t, dir, found[0].Dir())
	require.Equal(t, uint32(os.Geteuid()), found[0].UID)
	require.Equal(t, "writing "+member.Path, found[0].Saw)
	require.Eventually(t, func() bool {
		found = w.Writers(t.Context(), nil, dir, dir+"/r1")
		return len(found) == 1
	}, time.Minute, 50*time.Millisecond)
	require.Contains(t, found[0].Saw, "open for writing: "+dir+"/r1/")
}
