package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Kind says what a [Fact] tells.
type Kind int

const (
	// Settled: the file is finished as far as can be seen from outside. Fact.File is open.
	Settled Kind = iota + 1
	// Waiting: not settled yet; Fact.Reason is a [*WaitError]. Another Fact follows.
	Waiting
	// Unusable: there is something under the wanted name that is never opened ([ErrNotRegular],
	// [*LinkError]) or could not be opened for longer than the settle time ([ErrUnreadable]). It is
	// looked at again when it changes and at every listing.
	Unusable
	// Gone: a file that was told before is no longer there.
	Gone
	// Listed: a listing of the whole root is complete; every wanted file in it has been told. Path is
	// empty.
	Listed
	// RootGone: the root is missing, was replaced or cannot be opened, for Fact.Reason. It is
	// polled for. Gone follows for every file that was there. Path is empty.
	RootGone
	// RootBack: the root can be listed again. Path is empty.
	RootBack
	// Unlisted: a directory below the root that cannot be listed, for Reason. Told by [Once] alone.
	Unlisted
)

var kindNames = [...]string{
	Settled: "settled", Waiting: "waiting", Unusable: "unusable", Gone: "gone",
	Listed: "listed", RootGone: "root gone", RootBack: "root back", Unlisted: "unlisted",
}

// String returns the kind in lower case, such as "root gone".
func (k Kind) String() string {
	if k < Settled || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Fact is one change of what is known about a wanted file or about the root.
type Fact struct {
	// Path is relative to the root and slash separated. It may hold any byte but NUL, also invalid
	// UTF-8 and newlines.
	Path string
	Kind Kind
	// File is set for Settled (unless Options.NoFiles) and open for reading. The receiver closes it.
	File *os.File
	// Stat is the last state seen; for Settled that of File.
	Stat     Stat
	Evidence Evidence
	// Reason is set for Waiting, Unusable and RootGone.
	Reason error
}

// Closed says what is known about writers of a file.
type Closed string

const (
	// ClosedYes: no process had the file open for writing or mapped writably.
	ClosedYes Closed = "yes"
	// ClosedUnknown: the kernel can not tell, for Evidence.ClosedWhy.
	ClosedUnknown Closed = "unknown"
)

// Evidence is why a file is thought to be finished.
type Evidence struct {
	// Quiet is how long the file had been unchanged.
	Quiet  time.Duration
	Closed Closed
	// ClosedWhy is how Closed is known, or why it is not.
	ClosedWhy string
}

var (
	// ErrChanging is the cause of waiting for a file that changed within the settle time.
	ErrChanging = errors.New("still changing")
	// ErrWriter is the cause of waiting for a file that is quiet but not closed.
	ErrWriter = errors.New("open for writing in another process or writably mapped")
	// ErrUnreadable marks a file that cannot be opened or looked at.
	ErrUnreadable = errors.New("cannot be read")
	// ErrNotRegular marks what is never opened: directory, FIFO, socket, device.
	ErrNotRegular = errors.New("not a regular file")
)

// WaitError is the reason of a Waiting fact.
type WaitError struct {
	// Cause is or wraps ErrChanging, ErrWriter or ErrUnreadable.
	Cause error
	// Since is when the wait for this cause began.
	Since time.Time
}

// Error says how long the wait has lasted by now, such as "still changing for 12m0s": the text is
// current whenever it is asked for.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%v for %s", e.Cause, max(0, time.Since(e.Since)).Round(time.Second))
}

// Unwrap returns the cause.
func (e *WaitError) Unwrap() error { return e.Cause }

// LinkError is the reason of an Unusable fact for a symbolic link.
type LinkError struct {
	// Target is the text of the link.
	Target string
	// Outside tells that the link is absolute or leads out of the root: what is there was not looked at.
	Outside bool
	// Dangling tells that the link stays in the root and that nothing is there, or only through
	// another link.
	Dangling bool
}

// Error says where the link points and what to do.
func (e *LinkError) Error() string {
	switch {
	case e.Outside:
		return fmt.Sprintf("symbolic link to %q, which is outside of the root: links are not followed; watch the directory that holds the file", e.Target)
	case e.Dangling:
		return fmt.Sprintf("symbolic link to %q, which does not exist", e.Target)
	default:
		return fmt.Sprintf("symbolic link to %q: links are not followed; match that name instead", e.Target)
	}
}

// typeError returns the reason why a file of this mode is not usable, nil for a regular file.
func typeError(mode fs.FileMode) error {
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return fmt.Errorf("%w: a directory", ErrNotRegular)
	case mode&fs.ModeNamedPipe != 0:
		return fmt.Errorf("%w: a FIFO", ErrNotRegular)
	case mode&fs.ModeSocket != 0:
		return fmt.Errorf("%w: a socket", ErrNotRegular)
	case mode&fs.ModeDevice != 0:
		return fmt.Errorf("%w: a device", ErrNotRegular)
	default:
		return fmt.Errorf("%w: of mode %v", ErrNotRegular, mode)
	}
}
