package provenance

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strings"
)

// attributes are rules by which git converts files on their way into the repository (gitattributes(5)). They are not applied: where one
// could matter, it is not known whether a file that was touched differs.
type attributes struct {
	filters []string // patterns of files that a program converts
	unread  error
}

// maxRules is how many files of rules are read.
const maxRules = 100

// attributes reads the rules of a working tree.
func (w *walk) attributes(all []entry) *attributes {
	a := &attributes{}
	read := 0
	for _, e := range all {
		if path.Base(e.name) != ".gitattributes" {
			continue
		}
		if read++; read > maxRules {
			a.unread = fmt.Errorf("there are more than %d files .gitattributes", maxRules)
			break
		}
		a.read(w.top, e.name)
	}
	a.read(w.common, "info/attributes")
	return a
}

func (a *attributes) read(root *os.Root, name string) {
	data, err := readSmall(root, name, 1<<20)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		for _, word := range fields[1:] {
			if strings.HasPrefix(word, "filter=") || strings.HasPrefix(word, "working-tree-encoding=") {
				a.filters = append(a.filters, fields[0])
			}
		}
	}
}

// convert says why the content of a file may be the committed one although its bytes are others; nil when they are the content. Ends
// of lines matter where there is a carriage return, keywords where there is one.
func (a *attributes) convert(name string, data []byte) error {
	if a.unread != nil {
		return a.unread
	}
	for _, pattern := range a.filters {
		suffix, simple := strings.CutPrefix(pattern, "*.")
		if simple && !strings.ContainsAny(suffix, `*?[\/`) && !strings.HasSuffix(name, "."+suffix) {
			continue
		}
		return fmt.Errorf("%s was touched, and git's filter for %s is not run", Clip(name), Clip(pattern))
	}
	if bytes.ContainsRune(data, '\r') || bytes.Contains(data, []byte("$Id")) {
		return fmt.Errorf("%s was touched, and has carriage returns or keywords that git may convert", Clip(name))
	}
	return nil
}
