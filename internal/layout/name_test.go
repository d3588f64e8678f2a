package layout

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

func TestShapes(t *testing.T) {
	for name, want := range map[string]string{
		"autoencoder-epoch=03.ckpt":  "autoencoder-epoch={epoch}.ckpt",
		"G_2333.pth":                 "G_{step}.pth",
		"g_00002500":                 "g_{step}",
		"100_net_G.pth":              "{step}_net_G.pth",
		"rl_model_1000_steps.zip":    "rl_model_{step}_steps.zip",
		"best.pt":                    "{name}.pt",
		"model_best.pth.tar":         "model_{name}.pth.tar",
		"epoch=3-step=200.ckpt":      "epoch={epoch}-step={step}.ckpt",
		"epoch=3-val_loss=0.25.ckpt": "epoch={epoch}-val_loss=*.ckpt",
		"resnet50_e7.pth":            "resnet50_e{epoch}.pth",
		"ema_0.9999_010000.pt":       "ema_*_{step}.pt",
		"model.weights.h5":           "model.weights.h5",
		"last-v1.ckpt":               "{name}-v1.ckpt",
		"a?b{c}_1.pt":                "a?b?c?_{step}.pt",
		"1{2.pt":                     "{step}.pt",
	} {
		f := families([]entry{{name: name}})[0]
		require.Equal(t, want, f.pattern(f.captures()), name)
	}
}

// Whatever a file is called, the pattern that is made of its name is one, and matches it.
func FuzzPatternMatchesItsName(f *testing.F) {
	for _, name := range []string{"autoencoder-epoch=03.ckpt", "1{2.pt", "a\x1b[31m\n1_2*.pth", "\xff1\xfe2.ckpt", "epoch=epoch=02-x=0.5.ckpt", "1.2.3", "best last1e5.pt"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || len(name) > 255 || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
			t.Skip()
		}
		family := families([]entry{{name: name}})[0]
		text := "{run...}/" + family.pattern(family.captures())
		p, err := pattern.Compile(text)
		require.NoError(t, err, "%q", text)
		_, ok := p.Match("run/"+name, "root")
		require.True(t, ok, "%q does not match %q", text, name)
		require.NotContains(t, quote(text), "\n")
		require.NotContains(t, comment(name), "\n")
	})
}
