// Package watch turns directory trees into settled files.
//
// A [Watcher] owns one root. It tells, as a stream of [Fact], which wanted files have settled, which are
// still being written, which can never be used, and which are gone. It knows nothing of what the files
// hold.
//
// Notifications only say where to look; what is told is always concluded from a stat, never from an
// event. A lost event costs latency until the next listing, nothing else.
//
// Each file system in the tree is watched as it can be: where the kernel tells of all changes there is a
// watch of inotify for every directory, elsewhere, and where a watch is not to be had, directories are
// polled by their times, within a budget of calls.
//
// A file has settled when its size, times, device and inode have not changed for the settle time and,
// where the file system can tell, no process has it open for writing or mapped writably.
//
// Below the root no symbolic link is followed and nothing but regular files and directories is opened,
// so that whoever can write into the tree can make a watcher neither read elsewhere nor hang. A network
// file system whose server is gone blocks every call into it. [Watcher.Progress] shows such a call, no
// other watcher waits for it, and Run leaves it behind when its context is done.
package watch
