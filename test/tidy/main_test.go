package tidy

import (
	"testing"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }
