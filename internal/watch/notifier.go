package watch

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// maxDirty bounds the paths remembered between two looks; beyond it the root is listed anew.
const maxDirty = 1 << 16

// notifier collects which paths changed. Its goroutine only marks them, so that the kernel's queue is
// emptied however busy the owner is.
type notifier struct {
	events *fsnotify.Watcher
	// add is events.Add; tests let it fail.
	add func(path string) error
	// poke holds one token while there is something to take.
	poke chan struct{}
	done chan struct{}

	mu sync.Mutex
	// dirty tells of each path whether all that happened there was that a file was written to.
	dirty map[string]bool
	lost  error
}

// newNotifier starts a notifier. close ends it.
func newNotifier() (*notifier, error) {
	events, err := fsnotify.NewWatcher()
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("start inotify: %w; raise fs.inotify.max_user_instances or the limit of open files", err)
	}
	if err != nil {
		return nil, fmt.Errorf("start inotify: %w", err)
	}
	n := &notifier{
		events: events,
		add:    events.Add,
		poke:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		dirty:  map[string]bool{},
	}
	go n.collect()
	return n, nil
}

func (n *notifier) close() {
	n.events.Close()
	<-n.done
}

// watch asks for events of the directory at path. An error means that changes in it go unnoticed.
func (n *notifier) watch(path string) error {
	err := n.add(path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("watch directory %q: %w: the limit of inotify watches is reached; raise fs.inotify.max_user_watches", path, err)
	default:
		return fmt.Errorf("watch directory %q: %w", path, err)
	}
}

// unwatch ends events for a path that no longer means the directory it meant.
func (n *notifier) unwatch(path string) {
	// The only errors are that the kernel or the library dropped the watch before us.
	_ = n.events.Remove(path)
}

// take returns and forgets the paths that changed since the last call. A non-nil lost says why they
// are not all.
func (n *notifier) take() (dirty map[string]bool, lost error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	dirty, lost = n.dirty, n.lost
	n.dirty, n.lost = map[string]bool{}, nil
	return dirty, lost
}

func (n *notifier) collect() {
	defer close(n.done)
	for {
		select {
		case event, ok := <-n.events.Events:
			if !ok {
				return
			}
			n.mark(event.Name, event.Op == fsnotify.Write)
		case err, ok := <-n.events.Errors:
			if !ok {
				return
			}
			n.lose(err)
		}
		select {
		case n.poke <- struct{}{}:
		default:
		}
	}
}

func (n *notifier) mark(path string, written bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.dirty) == maxDirty {
		n.lost = errors.New("more paths changed at once than are remembered")
		clear(n.dirty)
	}
	if only, known := n.dirty[path]; known {
		written = written && only
	}
	n.dirty[path] = written
}

func (n *notifier) lose(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = err
}
