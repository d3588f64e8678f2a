package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
)

// strangersTree is a run tree that was not made for init: real checkpoints under other names and in other places.
type strangersTree struct {
	t      *testing.T
	root   string
	models string
	age    time.Time
}

// plainModels unpacks the weights of the example runs: two models, each at two epochs, that carry no configs.
func plainModels(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "b.toml")
	out, code := captured(t, "init", "../../examples/runs/pairs", "--output", file)
	require.Zero(t, code, out)
	c, err := config.Load(file)
	require.NoError(t, err)
	require.NoError(t, daemon.Once(t.Context(), c, daemon.Options{Tool: "test", Emit: func(e daemon.Event) {
		if e.Kind == daemon.Bundled {
			_, err := bundle.Unpack(t.Context(), bundle.Path(e.Path), filepath.Join(dir, filepath.Base(e.Key)))
			require.NoError(t, err)
		}
	}}))
	return dir
}

// put copies a file or a directory of the repository, or one of the plain models. Each file is a second younger
// than the one before.
func (s *strangersTree) put(from string, to ...string) {
	s.t.Helper()
	if name, ok := strings.CutPrefix(from, "models/"); ok {
		from = filepath.Join(s.models, name)
	} else {
		from = filepath.Join("..", "..", filepath.FromSlash(from))
	}
	for _, name := range to {
		require.NoError(s.t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(from, path)
			require.NoError(s.t, err)
			data, err := os.ReadFile(path)
			require.NoError(s.t, err)
			s.write(string(data), filepath.Join(name, rel))
			return nil
		}))
	}
}

func (s *strangersTree) write(text string, to ...string) {
	for _, name := range to {
		path := filepath.Join(s.root, name)
		require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(s.t, os.WriteFile(path, []byte(text), 0o644))
		s.age = s.age.Add(time.Second)
		require.NoError(s.t, os.Chtimes(path, s.age, s.age))
	}
}

// Two models that differ, the same ones later, and what lies in the repository.
const (
	pairsDir = "examples/runs/pairs/run_20251017_104700/"
	enc0     = "models/00/autoencoder/model.pth"
	enc1     = "models/01/autoencoder/model.pth"
	dec0     = "models/00/diffraction_to_obj/model.pth"
	dec1     = "models/01/diffraction_to_obj/model.pth"
	unified  = "examples/runs/unified/Synthetic_Runs/run_20260108_143022/"
	trees    = "internal/checkpoint/testdata/tree/"
)

// TestInitBundlesStrangersTrees takes a tree through init, check and once, and wants the bundles that a person
// would expect: by key, the roles.
func TestInitBundlesStrangersTrees(t *testing.T) {
	models := plainModels(t)
	for name, c := range map[string]struct {
		make   func(s *strangersTree)
		want   map[string]string
		unsure string // that the config says in a comment; "" when it is sure
		frozen int    // config files in each bundle, at least
	}{
		"other roles, deeper, in folders of other names": {func(s *strangersTree) {
			for _, run := range []string{"exp7/seed-3", "exp7/seed-12", "exp8/seed-3"} {
				s.put(enc0, run+"/nets/enc_0001.pt")
				s.put(dec0, run+"/nets/dec_0001.pt")
				s.put(enc1, run+"/nets/enc_0002.pt")
				s.put(dec1, run+"/nets/dec_0002.pt")
				s.put(pairsDir+"configs/data_config.json", run+"/settings/a.json", run+"/settings/b.json", run+"/settings/c.json")
			}
			s.write("epoch 1", "exp7/seed-3/train.log", "notes.txt")
		}, map[string]string{
			"exp7/seed-3/0001": "dec enc", "exp7/seed-3/0002": "dec enc", "exp7/seed-12/0001": "dec enc", "exp7/seed-12/0002": "dec enc",
			"exp8/seed-3/0001": "dec enc", "exp8/seed-3/0002": "dec enc",
		}, "", 3},
		"the number first, other separators, no padding": {func(s *strangersTree) {
			s.put(enc0, "r1/9.encoder.pth", "r1/10.encoder.pth")
			s.put(dec0, "r1/9.head.pth", "r1/10.head.pth", "r1/11.head.pth")
			s.write("lr: 1", "r1/args.yaml")
		}, map[string]string{"r1/9": "encoder head", "r1/10": "encoder head"}, "", 1},
		"HiFi-GAN": {func(s *strangersTree) {
			for _, step := range []string{"00002500", "00005000"} {
				s.put(enc0, "cp_hifigan/g_"+step)
				s.put(dec0, "cp_hifigan/do_"+step)
			}
			s.write(`{"lr": 1}`, "cp_hifigan/config.json")
		}, map[string]string{"cp_hifigan/00002500": "discriminator generator", "cp_hifigan/00005000": "discriminator generator"}, "", 1},
		"pix2pix": {func(s *strangersTree) {
			for _, epoch := range []string{"5", "10", "latest"} {
				s.put(enc0, "facades/"+epoch+"_net_G.pth")
				s.put(dec0, "facades/"+epoch+"_net_D.pth")
			}
		}, map[string]string{"facades/5": "discriminator generator", "facades/10": "discriminator generator", "facades/latest": "discriminator generator"}, "no config files", 0},
		"Lightning": {func(s *strangersTree) {
			for i, v := range []string{"lightning_logs/version_0", "lightning_logs/version_1"} {
				s.put(enc0, fmt.Sprintf("%s/checkpoints/epoch=%d-step=%d.ckpt", v, i, 100*i))
				s.put(enc1, v+"/checkpoints/last.ckpt")
				s.write("lr: 1", v+"/hparams.yaml")
				s.write("epoch,step,loss\n0,1,2\n", v+"/metrics.csv")
			}
		}, map[string]string{
			"lightning_logs/version_0/epoch=0-step=0": "model", "lightning_logs/version_0/last": "model",
			"lightning_logs/version_1/epoch=1-step=100": "model", "lightning_logs/version_1/last": "model",
		}, "", 1},
		"Hugging Face Trainer, with the final model beside": {func(s *strangersTree) {
			for _, run := range []string{"out/bert", "out/gpt"} {
				s.put(trees+"trainer/checkpoint-2", run+"/checkpoint-2")
				s.put(trees+"trainer/checkpoint-2/trainer_state.json", run+"/checkpoint-2/trainer_state.json")
				s.write(`{"model_type": "x"}`, run+"/run_config.json")
			}
		}, map[string]string{"out/bert/2": "model", "out/gpt/2": "model"}, "", 1},
		"sharded folders": {func(s *strangersTree) {
			for _, step := range []string{"step_10", "step_20"} {
				s.put(trees+"sharded", "big/"+step)
				s.put(trees+"sharded/model.safetensors.index.json", "big/"+step+"/model.safetensors.index.json")
			}
		}, map[string]string{"big/10": "model", "big/20": "model"}, "no config files", 0},
		"stable-baselines3": {func(s *strangersTree) {
			s.put("internal/checkpoint/testdata/sb3.zip", "ppo/rl_model_1000_steps.zip", "ppo/rl_model_2000_steps.zip")
			s.write("a: 1", "ppo/config.yml")
		}, map[string]string{"ppo/1000": "model", "ppo/2000": "model"}, "", 1},
		"roles are folders": {func(s *strangersTree) {
			for _, run := range []string{"a", "b"} {
				s.put(enc0, run+"/generator/ckpt-1.pt", run+"/generator/ckpt-2.pt")
				s.put(dec0, run+"/discriminator/ckpt-1.pt", run+"/discriminator/ckpt-2.pt")
				s.write("x: 1", run+"/config.yaml")
			}
		}, map[string]string{"a/1": "discriminator generator", "a/2": "discriminator generator", "b/1": "discriminator generator", "b/2": "discriminator generator"}, "", 1},
		"model, its average, and an optimizer": {func(s *strangersTree) {
			for _, step := range []string{"010000", "020000"} {
				s.put(enc0, "diffusion/model"+step+".pt")
				s.put(enc1, "diffusion/ema_0.9999_"+step+".pt")
				s.put(trees+"trainer/checkpoint-2/optimizer.pt", "diffusion/opt"+step+".pt")
			}
			s.write("x: 1", "diffusion/config.yaml")
		}, map[string]string{"diffusion/010000": "ema_0.9999 model", "diffusion/020000": "ema_0.9999 model"}, "", 1},
		"best and last": {func(s *strangersTree) {
			for _, run := range []string{"train", "train2"} {
				s.put(enc0, run+"/weights/best.pt")
				s.put(enc1, run+"/weights/last.pt")
				s.write("x: 1", run+"/args.yaml")
			}
		}, map[string]string{"train/best": "model", "train/last": "model", "train2/best": "model", "train2/last": "model"}, "", 1},
		"a metric in the names": {func(s *strangersTree) {
			s.put(enc0, "r/ckpt/gen-epoch=03-loss=0.12.ckpt")
			s.put(dec0, "r/ckpt/disc-epoch=03-loss=1.90.ckpt")
			s.put(enc1, "r/ckpt/gen-epoch=04-loss=0.11.ckpt")
			s.put(dec1, "r/ckpt/disc-epoch=04-loss=1.85.ckpt")
			s.write("x: 1", "r/config.yaml")
		}, map[string]string{"r/03": "disc gen", "r/04": "disc gen"}, "", 1},
		"names that never change": {func(s *strangersTree) {
			for _, run := range []string{"2026-01-01/12-00-00", "2026-01-01/13-00-00"} {
				s.put(enc0, run+"/actor.pt")
				s.put(dec0, run+"/critic.pt")
				s.write("x: 1", run+"/.hydra/config.yaml")
			}
		}, map[string]string{"2026-01-01/12-00-00": "actor critic", "2026-01-01/13-00-00": "actor critic"}, "", 1},
		"the root is the run": {func(s *strangersTree) {
			s.put(enc0, "G_1.pth", "G_2.pth")
			s.put(dec0, "D_1.pth", "D_2.pth")
			s.write("{}", "config.json")
		}, map[string]string{"tree/1": "discriminator generator", "tree/2": "discriminator generator"}, "", 1},
		"PtychoPINN, renamed": {func(s *strangersTree) {
			s.put(unified+"checkpoints/best-checkpoint.ckpt", "sim/jan/saved/top.ckpt")
			s.put(unified+"checkpoints/last.ckpt", "sim/jan/saved/final.ckpt")
			s.put(unified+"checkpoints/milestones/epoch-0005.ckpt", "sim/jan/saved/kept/e5.ckpt")
			s.put(unified+"lightning_logs/version_0/hparams.yaml", "sim/jan/logs/version_3/hparams.yaml")
		}, map[string]string{
			"sim/jan/top": "autoencoder diffraction_to_obj", "sim/jan/final": "autoencoder diffraction_to_obj", "sim/jan/kept/e5": "autoencoder diffraction_to_obj",
		}, "", 1},
		"ambiguous: two models with the same tensors": {func(s *strangersTree) {
			s.put(enc0, "r/left_1.pt", "r/left_2.pt")
			s.put(enc1, "r/right_1.pt", "r/right_2.pt")
			s.write("x: 1", "r/config.yaml")
		}, map[string]string{"r/1": "left right", "r/2": "left right"}, "unsure: it has the same tensors as files like", 1},
		"two layouts in one tree": {func(s *strangersTree) {
			s.put(enc0, "gan/r/checkpoints/x-1.ckpt")
			s.put(dec0, "gan/r/checkpoints/y-1.ckpt")
			s.put(unified+"checkpoints/last.ckpt", "one/r/checkpoints/last.ckpt")
			s.put(unified+"checkpoints/best-checkpoint.ckpt", "one/r/checkpoints/z-best.ckpt")
			s.write("x: 1", "gan/r/config.yaml", "one/r/config.yaml")
		}, map[string]string{"r/1": "x y", "r/last": "autoencoder diffraction_to_obj", "r/z-best": "autoencoder diffraction_to_obj"}, "", 1},
		"names that are hard to write down": {func(s *strangersTree) {
			run := "we\"i\\rd {x}*? 名前"
			s.put(enc0, run+"/a\x1b[mx_1.pt", "other/a\x1b[mx_1.pt")
			s.put(dec0, run+"/b\n{}_1.pt", "other/b\n{}_1.pt")
			s.write("x: 1", run+"/con\"fig\".yaml", "other/con\"fig\".yaml")
		}, map[string]string{"we\"i\\rd {x}*? 名前/1": "a_mx b", "other/1": "a_mx b"}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree := &strangersTree{t: t, root: filepath.Join(dir, "tree"), models: models, age: time.Now().Add(-time.Hour)}
			require.NoError(t, os.Mkdir(tree.root, 0o755))
			c.make(tree)
			file := filepath.Join(dir, "bundlewatch.toml")
			out, code := captured(t, "init", tree.root, "--output", file)
			require.Zero(t, code, out)
			require.NotContains(t, out, "\x1b")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotContains(t, string(text), "\x1b")
			out, code = captured(t, "check", "--config", file)
			require.Zero(t, code, "%s\n%s", text, out)
			if c.unsure == "" {
				require.NotContains(t, strings.ReplaceAll(string(text), "say \"unsure\"", ""), "unsure", name)
			} else {
				require.Contains(t, string(text), c.unsure)
			}
			require.Equal(t, c.want, bundledBy(t, file, c.frozen), "%s", text)
		})
	}
}

// bundledBy runs one pass and returns the roles by key, for bundles that froze so many config files.
func bundledBy(t *testing.T, file string, frozen int) map[string]string {
	t.Helper()
	c, err := config.Load(file)
	require.NoError(t, err)
	got := make(map[string]string)
	require.NoError(t, daemon.Once(t.Context(), c, daemon.Options{Tool: "test", Emit: func(e daemon.Event) {
		if e.Kind != daemon.Bundled {
			return
		}
		m, err := bundle.ReadManifest(filepath.Join(e.Path, bundle.ManifestName))
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(m.Config), frozen, e.Key)
		roles := slices.Clone(e.Members)
		slices.Sort(roles)
		require.NotContains(t, got, e.Key)
		got[e.Key] = strings.Join(roles, " ")
	}}))
	return got
}

// captured runs a command line and returns what it wrote to standard output.
func captured(t *testing.T, args ...string) (string, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = f
	code := run(args)
	os.Stdout = stdout
	require.NoError(t, f.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text), code
}

func TestInitJSONIsOneObjectPerLine(t *testing.T) {
	out, code := captured(t, "init", "../../examples/runs/pairs", "--json", "--output", filepath.Join(t.TempDir(), "b.toml"))
	require.Zero(t, code)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	var watch struct {
		Event    string
		Layout   string
		Preset   string
		Complete int
		Waiting  int
		Keys     []string
		Members  []struct{ Role, Pattern string }
	}
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &watch))
	require.Equal(t, "watch", watch.Event)
	require.Equal(t, "ptychopinn", watch.Preset)
	require.Equal(t, 2, watch.Complete)
	require.Equal(t, 1, watch.Waiting)
	require.Equal(t, "{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt", watch.Members[0].Pattern)
}
