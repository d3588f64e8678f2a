package daemon

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

func sharedFixtures(t *testing.T) string {
	t.Helper()
	dir := "../../../shared/fixtures"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no shared fixtures beside the repository")
	}
	return dir
}

// Every hostile or broken file is refused for what is wrong with it, and inspect tells what it imports.
func TestHostileFilesAreRefused(t *testing.T) {
	dir := filepath.Join(sharedFixtures(t), "hostile")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	reasons := map[string]string{
		"os_system.pth": `its entry "x" calls "posix.system", imported at byte 193`, "eval_in_state_dict.pth": "__builtin__.eval", "stack_global.pth": "builtins.eval",
		"memo_global.pth": "posix.system", "inst.pth": "os.system", "obj.pth": "os.system", "truncated_after_call.pth": "posix.system",
		"deep.pth": "nested more than", "huge_string.pth": "are left", "memo_bomb.pth": "larger than the pickle", "empty.pth": "empty",
		"truncated_half.pth": "no end record", "truncated_last_byte.pth": "no end record", "zero_body.pth": "zero bytes",
		"zip_slip.pth": "could leave its folder", "deflated_bomb.pth": "compressed", "flipped_bit.pth": "the content is corrupt",
	}
	require.Len(t, files, len(reasons))
	for name, reason := range reasons {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			s := newSite(t)
			s.write("r/a-1.ckpt", data)
			s.write("r/b-1.ckpt", torchZip(t, 10, 1))
			require.Contains(t, s.check(Watched, Refused)[1].Reason, reason)
			require.Contains(t, s.once(Refused)[0].Reason, reason)
			require.Empty(t, s.bundles())
			in, err := bundle.Inspect(s.path("r/a-1.ckpt"))
			if err != nil {
				require.True(t, bundle.IsNotCheckpoint(err), err)
			}
			if imported := regexp.MustCompile(`"?(posix\.system|os\.system|\w+\.eval)`).FindStringSubmatch(reason); imported != nil {
				var names []string
				for _, p := range in.Pickles {
					for _, i := range p.Imports {
						if i.Foreign {
							names = append(names, i.Name)
						}
					}
				}
				require.Contains(t, names, imported[1])
			}
		})
	}
}

// What imports = "warn" lets pass is told.
func TestCallsOutsideOfTheWeights(t *testing.T) {
	s := newSite(t)
	call := &pickle.Object{Class: &pickle.Global{Module: "os", Name: "system"}, Args: []any{"true"}}
	s.write("r/a-1.ckpt", torchZip(t, 10, 1))
	write := func(entry string) {
		s.write("r/b-1.ckpt", torchArchive(t, pickle.NewDict("state_dict", pickle.NewDict("w", floats(10)), entry, call), make([]byte, 40)))
	}
	write("extra")
	require.Contains(t, s.check(Watched, Refused)[1].Reason, `its entry "extra" calls "os.system", imported at byte`)
	require.Contains(t, s.once(Refused)[0].Reason, `if you trust the file, set imports = "warn"`)
	s.watch().Payload.Imports = "warn"
	notes := s.once(Bundled)[0].Notes
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], `warning: b: its entry "extra" calls "os.system"`)
	require.Equal(t, []string{"os.system"}, s.bundles()["w/r/1"].Members[1].LeftBehind)

	s.watch().Payload.Imports = "refuse"
	write("hyper_parameters")
	s.once(PublishedBefore) // not refused
}
