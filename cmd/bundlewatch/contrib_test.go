package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// container is what the tests want of one.
type container struct {
	Name          string   `yaml:"name"`
	RestartPolicy string   `yaml:"restartPolicy"`
	Command       []string `yaml:"command"`
	Env           []struct {
		Name, Value string
	} `yaml:"env"`
	StartupProbe struct {
		Exec struct{ Command []string }
	} `yaml:"startupProbe"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type manifest struct {
	Kind string `yaml:"kind"`
	Spec struct {
		Template struct {
			Spec struct {
				Grace          int         `yaml:"terminationGracePeriodSeconds"`
				InitContainers []container `yaml:"initContainers"`
				Containers     []container `yaml:"containers"`
				Volumes        []struct{ Name string }
			}
		}
	}
	Data map[string]string
}

func kubernetesManifests(t *testing.T) map[string]manifest {
	t.Helper()
	text, err := os.ReadFile("../../contrib/kubernetes/job.yaml")
	require.NoError(t, err)
	require.NotContains(t, string(bytes.ReplaceAll(text, []byte("no preStop hook"), nil)), "preStop")
	all := make(map[string]manifest)
	for in := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m manifest
		err := in.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[m.Kind] = m
	}
}

// The sidecar is one, its command line is one of ours, its SIGTERM drains within the grace period, and its config is
// valid and about what is mounted.
func TestKubernetesSidecar(t *testing.T) {
	all := kubernetesManifests(t)
	require.Len(t, all, 2)
	pod := all["Job"].Spec.Template.Spec
	require.Len(t, pod.InitContainers, 1)
	sidecar := pod.InitContainers[0]
	require.Equal(t, "Always", sidecar.RestartPolicy, "else it is no sidecar")

	var drain time.Duration
	f, err := parse("run", sidecar.Command[2:], true, false, func(set *flag.FlagSet) { set.DurationVar(&drain, "drain", 0, "") })
	require.NoError(t, err)
	require.Equal(t, "run", sidecar.Command[1])
	require.Empty(t, f.paths)
	require.Greater(t, drain, 10*time.Second)
	require.Less(t, 2*drain, time.Duration(pod.Grace)*time.Second, "half of the time is the trainer's")
	probe, err := parse("status", sidecar.StartupProbe.Exec.Command[2:], true, true)
	require.NoError(t, err)
	require.Equal(t, f.config, probe.config)

	c, err := config.Parse(f.config, all["ConfigMap"].Data[filepath.Base(f.config)])
	require.NoError(t, err)
	mounted := make(map[string]string)
	for _, m := range sidecar.VolumeMounts {
		mounted[m.MountPath] = m.Name
	}
	require.Contains(t, mounted, c.Artifacts.Dir)
	require.Contains(t, mounted, c.Watches[0].Root)
	require.Contains(t, mounted, filepath.Dir(f.config))
	require.Contains(t, mounted, sidecar.Env[0].Value)
	require.Equal(t, "RUNTIME_DIRECTORY", sidecar.Env[0].Name)
	for _, v := range pod.Volumes {
		delete(mounted, v.Name)
	}
	for _, name := range mounted {
		found := false
		for _, v := range pod.Volumes {
			found = found || v.Name == name
		}
		require.True(t, found, "no volume %s", name)
	}
}

// What the units run before a stop is a drain that ends before systemd loses patience.
func TestUnitsDrain(t *testing.T) {
	for _, unit := range []string{"bundlewatch.service", "bundlewatch-user.service"} {
		text, err := os.ReadFile("../../systemd/" + unit)
		require.NoError(t, err)
		settings := make(map[string]string)
		for _, line := range strings.Split(string(text), "\n") {
			if name, value, ok := strings.Cut(line, "="); ok {
				settings[name] = value
			}
		}
		words := strings.Fields(strings.TrimPrefix(settings["ExecStop"], "+"))
		require.Equal(t, []string{"/usr/bin/bundlewatch", "drain"}, words[:2])
		f := drainFlags{}
		_, err = parse("drain", words[2:], true, true, func(set *flag.FlagSet) {
			set.DurationVar(&f.timeout, "timeout", drainTime, "")
			set.BoolVar(&f.hook, "hook", false, "")
		})
		require.NoError(t, err)
		require.True(t, f.hook)
		limit, err := time.ParseDuration(settings["TimeoutStopSec"] + "s")
		require.NoError(t, err)
		require.Less(t, f.timeout+5*time.Second, limit)
		require.Contains(t, settings["ExecStart"], words[len(words)-1], "the same config")
	}
}

// The epilog hands a drain's answer to the next life of the job, whatever the program does, and never fails.
func TestSlurmEpilog(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and setpriv")
	}
	sum := strings.Repeat("0a", 32)
	for _, c := range []struct{ name, program, want string }{
		{"pair", "echo 'member    a: /runs/x y/a.ckpt " + sum + "'; echo 'member    b: /runs/x y/b.ckpt " + sum + "'; echo 'safe to resume from: /runs/x y/a.ckpt " + sum + "'",
			sum + "  /runs/x y/a.ckpt\n" + sum + "  /runs/x y/b.ckpt\n"},
		{"archive", "echo 'member    a: /runs/a.ckpt " + sum + "'; echo 'member    b: /runs/b.ckpt it is gone'; echo 'safe to resume from: /artifacts/wts.h5.zip " + sum + "'",
			sum + "  /artifacts/wts.h5.zip\n"},
		{"nothing", "echo 'nothing is safe to resume from: there is no bundle of a whole set'", ""},
		{"strange name", `echo 'safe to resume from: "/runs/\na.ckpt" ` + sum + "'", ""},
		{"failure", "exit 1", ""},
		{"hang", "trap '' TERM; sleep 30", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := openFolder(t)
			program := filepath.Join(dir, "program")
			require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+c.program+"\n"), 0o755))
			work := filepath.Join(dir, "work dir")
			require.NoError(t, os.Mkdir(work, 0o700))
			require.NoError(t, os.Chown(work, nobody, nobody))
			epilog := exec.Command("../../contrib/slurm/epilog.sh")
			epilog.Env = []string{"BUNDLEWATCH=" + program, "BUNDLEWATCH_DRAIN=1", "SLURM_JOB_ID=7", "SLURM_JOB_UID=65534", "SLURM_JOB_WORK_DIR=" + work}
			out, err := epilog.CombinedOutput()
			require.NoError(t, err, string(out))
			got, err := os.ReadFile(filepath.Join(work, ".bundlewatch-resume-7"))
			if c.want == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err, string(out))
			require.Equal(t, c.want, string(got))
		})
	}
}
