package score

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFromName(t *testing.T) {
	for name, want := range map[string]Scores{
		"epoch=epoch=02-poisson_val=poisson_val_loss=24748988416.0000.ckpt": {"epoch": 2, "poisson_val_loss": 24748988416},
		"epoch=3-val_loss=-1.5e-3.ckpt":                                     {"epoch": 3, "val_loss": -0.0015},
		"model_best_acc_0.91.pth":                                           {"model_best_acc": 0.91},
		"gen-epoch=03-val/loss=0.5.ckpt":                                    {"epoch": 3, "val/loss": 0.5},
		"G_2333.pth":                                                        {},
		"last.ckpt":                                                         {},
		"loss=1e999.ckpt":                                                   {},
		"":                                                                  {},
	} {
		require.Equal(t, want, FromName(name), name)
	}
}

const lightningCSV = `epoch,learning_rate,train_loss_step,val_loss,step
0,,5.0,,0
0,,,4.0,1
1,,3.0,,2
1,,,2.5,3
1,0.001,,,3
1,,,2.0,9
2,,,nan,5
2,,,1.0,`

func TestFromCSV(t *testing.T) {
	got, err := FromCSV([]byte(lightningCSV), 1, 4)
	require.NoError(t, err)
	require.Equal(t, Scores{"learning_rate": 0.001, "train_loss_step": 3, "val_loss": 2.5}, got, "the row of step 9 is later than the checkpoint")
	got, err = FromCSV([]byte(lightningCSV), 2, 100)
	require.NoError(t, err)
	require.Empty(t, got, "NaN is no number, and the last line is not whole")
	got, err = FromCSV([]byte(lightningCSV), 7, 100)
	require.NoError(t, err)
	require.Empty(t, got)
	got, err = FromCSV(nil, 0, 0)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestFromTrainerState(t *testing.T) {
	got, err := FromTrainerState([]byte(`{"epoch": 1.5, "global_step": 20, "log_history": [
		{"step": 10, "eval_loss": 3}, {"step": 20, "loss": 2.5, "grad_norm": "inf"}, {"step": 20, "eval_loss": 2}]}`))
	require.NoError(t, err)
	require.Equal(t, Scores{"loss": 2.5, "eval_loss": 2, "epoch": 1.5, "global_step": 20}, got)
	_, err = FromTrainerState([]byte(`[`))
	require.Error(t, err)
}

func FuzzFromCSV(f *testing.F) {
	f.Add([]byte(lightningCSV))
	f.Add([]byte("\"a\n,epoch\n\x00,1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		scores, err := FromCSV(data, 1, 4)
		if err == nil {
			require.NotContains(t, scores, "epoch")
		}
	})
}

func FuzzFromTrainerState(f *testing.F) {
	f.Add([]byte(`{"global_step": 1, "log_history": [{"step": 1, "a": 2}]}`))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = FromTrainerState(data) })
}
