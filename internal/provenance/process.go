package provenance

import (
	"bytes"
	"io"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Writer is a process that was seen with a file of the run open for writing.
type Writer struct {
	PID         int               `json:"pid" doc:"as the daemon sees it"`
	Saw         string            `json:"saw" doc:"what it was seen with: a member of the set while that was written, or another file of the run when the bundle was written"`
	Command     string            `json:"command,omitempty" doc:"its name, at most 15 characters; arguments are not recorded, they may hold secrets"`
	Exe         string            `json:"exe,omitempty" doc:"the program that it runs"`
	Cwd         string            `json:"cwd,omitempty" doc:"its working directory"`
	UID         uint32            `json:"uid" doc:"the user that it runs as"`
	User        string            `json:"user,omitempty" doc:"that user's name on the daemon's host"`
	Environment map[string]string `json:"environment,omitempty" doc:"of its environment, the ids that Slurm, Kubernetes and launchers give a job; only names of a fixed list"`
	Cgroup      string            `json:"cgroup,omitempty" doc:"its control group"`
	PodUID      string            `json:"pod_uid,omitempty" doc:"Kubernetes' UID of the pod, from the control group"`
	ContainerID string            `json:"container_id,omitempty" doc:"id of the container, from the control group"`
	SlurmJob    string            `json:"slurm_job,omitempty" doc:"Slurm's id of the job, from the control group"`

	id     process
	parent int
	cwd    string // as it is; "" when it is another directory to this process
}

// Dir returns the process's working directory, "" when that cannot be seen or the path means something else here, as it does for a
// process in a container.
func (w Writer) Dir() string { return w.cwd }

// process is one process, also after its id was used anew, as long as it runs one program.
type process struct {
	pid     int
	started string // in ticks since the boot
	name    string // which another program brings with it, as after a shell's exec
}

// Allowed are the names of the environment that are recorded. A name is here for an id that says which job it was; none of them is
// for a secret.
var Allowed = []string{
	"SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS",
	"SLURM_NODEID", "SLURM_JOB_NUM_NODES", "SLURM_JOB_NODELIST", "SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION", "SLURM_RESTART_COUNT",
	"KUBERNETES_SERVICE_HOST", "HOSTNAME", "POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME", "JOB_COMPLETION_INDEX",
	"PBS_JOBID", "LSB_JOBID", "TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES",
}

// maxEnvironment is how much of an environment is read in bytes.
const maxEnvironment = 256 << 10

var (
	podUID      = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})`)
	containerID = regexp.MustCompile(`(?:^|[-/:])([0-9a-f]{64})(?:\.scope)?$`)
	slurmJob    = regexp.MustCompile(`slurm.*/job_([0-9]+)(?:/|$)`)
)

// identify returns which process has a pid now, and its parent.
func identify(proc string, pid int) (p process, parent int, ok bool) {
	stat := attribute(filepath.Join(proc, strconv.Itoa(pid)), "stat")
	begin, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')') // the name between them may hold anything
	if begin < 0 || end < begin {
		return process{}, 0, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return process{}, 0, false
	}
	parent, _ = strconv.Atoi(fields[1])
	return process{pid, fields[19], stat[begin+1 : end]}, parent, true
}

// describe tells what can be seen of a process: what may not be read is absent.
func describe(proc string, p process, parent int) Writer {
	dir := filepath.Join(proc, strconv.Itoa(p.pid))
	w := Writer{PID: p.pid, Command: Clip(p.name), id: p, parent: parent}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		w.Exe = Clip(exe)
	}
	if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil {
		w.Cwd = Clip(cwd)
		if same(filepath.Join(dir, "cwd"), cwd) {
			w.cwd = cwd
		}
	}
	for line := range strings.Lines(attribute(dir, "status")) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok && len(strings.Fields(ids)) > 1 {
			uid, _ := strconv.ParseUint(strings.Fields(ids)[1], 10, 32)
			w.UID = uint32(uid)
		}
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(w.UID), 10)); err == nil {
		w.User = Clip(u.Username)
	}
	w.Environment = environment(dir)
	w.setCgroup(attribute(dir, "cgroup"))
	return w
}

// same tells whether two paths lead to the same directory.
func same(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// environment returns what of a process's environment is recorded.
func environment(dir string) map[string]string {
	f, err := os.Open(filepath.Join(dir, "environ"))
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnvironment))
	if err != nil {
		return nil
	}
	found := map[string]string{}
	for variable := range bytes.SplitSeq(data, []byte{0}) {
		if name, value, ok := strings.Cut(string(variable), "="); ok && slices.Contains(Allowed, name) {
			found[name] = Clip(value)
		}
	}
	return found
}

// setCgroup takes the lines of /proc/PID/cgroup, of which version 2 has one, and version 1 one for each controller.
func (w *Writer) setCgroup(lines string) {
	for line := range strings.Lines(lines) {
		_, group, _ := strings.Cut(strings.TrimSpace(line), ":")
		_, group, _ = strings.Cut(group, ":")
		if len(group) > len(w.Cgroup) {
			w.Cgroup = group
		}
	}
	if m := podUID.FindStringSubmatch(w.Cgroup); m != nil {
		w.PodUID = strings.ReplaceAll(m[1], "_", "-")
	}
	if m := containerID.FindStringSubmatch(w.Cgroup); m != nil {
		w.ContainerID = m[1]
	}
	if m := slurmJob.FindStringSubmatch(w.Cgroup); m != nil {
		w.SlurmJob = Clip(m[1])
	}
	w.Cgroup = Clip(w.Cgroup)
}

// maxDescriptors is how many open files of a process are looked at.
const maxDescriptors = 4096

// isWriting tells whether the descriptor of a process is open for writing.
func isWriting(dir, descriptor string) bool {
	for line := range strings.Lines(attribute(filepath.Join(dir, "fdinfo"), descriptor)) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 64)
			return err == nil && n&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// openFiles calls found with every open file of a process that has a path, until that returns false.
func openFiles(dir string, found func(descriptor, path string) bool) {
	descriptors, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return
	}
	defer descriptors.Close()
	names, _ := descriptors.Readdirnames(maxDescriptors)
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(dir, "fd", name))
		if err == nil && path.IsAbs(target) && !found(name, strings.TrimSuffix(target, " (deleted)")) {
			return
		}
	}
}
