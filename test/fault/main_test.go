package fault

import (
	"flag"
	"testing"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// together is how many interrupted daemons are waited for at once: most of their time they wait to try
// again.
const together = "24"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", together); err != nil {
		panic(err)
	}
	program.Main(m)
}
