package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// Commands of scripts about a daemon and the machine that it runs on.

// mountTmpfs mounts a file system of 32 MiB with room for 200 files until the script ends.
func mountTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "mounttmpfs DIR")
	dir := ts.MkAbs(args[0])
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m,nr_inodes=200"))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// bindMount makes a directory appear at another place, too, until the script ends.
func bindMount(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "bindmount DIR AT")
	at := ts.MkAbs(args[1])
	ts.Check(unix.Mount(ts.MkAbs(args[0]), at, "", unix.MS_BIND, ""))
	ts.Defer(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// hangs are the file systems that do not answer, by mount point: the descriptors of their servers, who never
// read a request.
var hangs sync.Map

// hangMount mounts a file system that does not answer.
func hangMount(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "hangmount DIR")
	dir := ts.MkAbs(args[0])
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	ts.Check(err)
	ts.Check(unix.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", server)))
	hangs.Store(dir, server)
	ts.Defer(func() {
		abort(dir)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
}

// abort makes all calls into a file system that does not answer fail.
func abort(dir string) {
	if server, ok := hangs.LoadAndDelete(dir); ok {
		unix.Close(server.(int))
	}
}

// unhang lets a file system that does not answer go away.
func unhang(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "unhang DIR")
	abort(ts.MkAbs(args[0]))
	ts.Check(unix.Unmount(ts.MkAbs(args[0]), unix.MNT_DETACH))
}

// notifySocket makes daemons that are started later tell FILE what they tell systemd, one message after the other.
func notifySocket(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "notify FILE")
	dir, err := os.MkdirTemp("", "notify") // the path of a socket must be short
	ts.Check(err)
	socket := filepath.Join(dir, "socket")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	ts.Check(err)
	log, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		message := make([]byte, 64<<10)
		for {
			n, err := listener.Read(message)
			if err != nil {
				return
			}
			fmt.Fprintf(log, "%s\n", message[:n])
		}
	}()
	ts.Defer(func() {
		listener.Close()
		<-done
		log.Close()
		os.RemoveAll(dir)
	})
	ts.Setenv("NOTIFY_SOCKET", socket)
}

var addressInLog = regexp.MustCompile(`"address":"([^"]+)"`)

// httpGet prints the code and the body of what the daemon whose log is given answers on its last listener.
func httpGet(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, false, args, 2, "[!] httpget LOG PATH")
	answer, err := fetch(ts, args[0], args[1])
	if neg {
		if err == nil {
			ts.Fatalf("it answers %s", answer)
		}
		return
	}
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), answer)
}

func fetch(ts *testscript.TestScript, log, path string) (string, error) {
	found := addressInLog.FindAllStringSubmatch(ts.ReadFile(log), -1)
	if len(found) == 0 {
		ts.Fatalf("no address in %s", log)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + found[len(found)-1][1] + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d\n%s", response.StatusCode, body), err
}

// untilSays runs a command until its output has lines that match.
func untilSays(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "until 'exec PROGRAM [ARG...]'|'httpget LOG PATH' PATTERN")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	words := strings.Fields(args[0])
	var text string
	until(ts, fmt.Sprintf("%q from %s", args[1], args[0]), func() bool {
		if words[0] == "httpget" {
			text, err = fetch(ts, words[1], words[2])
			ts.Check(err)
		} else {
			_ = ts.Exec(words[1], words[2:]...) // what it prints counts
			text = ts.ReadFile("stdout")
		}
		return pattern.MatchString(text)
	})
	fmt.Fprint(ts.Stdout(), text)
}

// manyHalves writes one member each of so many sets: copies of a checkpoint, as DIR/r/ROLE-N.ckpt.
func manyHalves(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 4, "manyhalves CHECKPOINT DIR ROLE COUNT")
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(dir, 0o755))
	for i := range n {
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.ckpt", args[2], i)), data, 0o644))
	}
}

// descriptors wants a daemon to have no more than so many files open.
func descriptors(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "descriptors DAEMON MOST")
	most, err := strconv.Atoi(args[1])
	ts.Check(err)
	names, err := os.ReadDir("/proc/" + strings.TrimSpace(ts.ReadFile(args[0]+".pid")) + "/fd")
	ts.Check(err)
	if len(names) > most {
		ts.Fatalf("%d descriptors, want at most %d", len(names), most)
	}
	ts.Logf("%d descriptors", len(names))
}

// webhook starts a receiver of notifications, whose address it puts into $HOOK. It answers with the code that ends the
// path, and writes a line of code, signature and body to FILE for each.
func webhook(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "webhook FILE")
	log, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		code, err := strconv.Atoi(filepath.Base(r.URL.Path))
		if err != nil {
			code = http.StatusOK
		}
		fmt.Fprintf(log, "%d %s %s", code, r.Header.Get("Bundlewatch-Signature"), body)
		w.WriteHeader(code)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // it ends with Close
	}()
	ts.Defer(func() {
		server.Close()
		<-ended
		log.Close()
	})
	ts.Setenv("HOOK", "http://"+listener.Addr().String())
}
