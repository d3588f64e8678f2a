package watch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGroup(t *testing.T) {
	for _, size := range []int{0, 1, 2, fewest, fewest + 1, 3 * fewest} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var g *group[*dir]
			var all []*dir
			for i := range size {
				d := &dir{name: fmt.Sprint(i)}
				require.Nil(t, g.get(d.name))
				all, g = append(all, d), g.with(d)
			}
			for _, d := range all {
				require.Same(t, d, g.get(d.name))
			}
			require.Nil(t, g.get("none"))
			require.ElementsMatch(t, all, slices.Collect(g.all()))
			g = g.without(&dir{name: "none"})
			var met []*dir
			for d := range g.all() { // as a directory is forgotten
				met = append(met, d)
				g = g.without(d)
				require.Nil(t, g.get(d.name))
			}
			require.ElementsMatch(t, all, met)
			require.Empty(t, slices.Collect(g.all()))
			require.Nil(t, g.get("0"))
		})
	}
}
