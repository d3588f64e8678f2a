package checkpoint

import "github.com/bundlewatch/bundlewatch/internal/pickle"

// importList collects the imports of the pickles of a file, or of a directory: each name once, where it is first.
type importList struct {
	list []pickle.Import
	seen map[string]bool
}

// add takes over imports of a pickle that begins at an offset.
func (l *importList) add(imports []pickle.Import, offset int64) error {
	for _, i := range imports {
		name := i.String()
		if l.seen[name] {
			continue
		}
		if len(l.list) == pickle.MaxImports {
			return broken("more than %d different names are imported", pickle.MaxImports)
		}
		if l.seen == nil {
			l.seen = make(map[string]bool)
		}
		l.seen[name] = true
		i.Offset += int(offset)
		l.list = append(l.list, i)
	}
	return nil
}
