package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// ociServers are the registries of scripts, by address.
var ociServers sync.Map

// ociRegistry starts a registry in memory on the loopback interface and names its address in $REG, or stops it. One
// that is started again has the address of the one before, and has forgotten everything.
func ociRegistry(ts *testscript.TestScript, neg bool, args []string) {
	slow := len(args) == 2 && args[1] == "slow"
	if slow {
		args = args[:1]
	}
	arguments(ts, neg, args, 1, "registry start [slow]|stop")
	switch address := ts.Getenv("REG"); {
	case args[0] == "stop":
		stopRegistry(address)
	case address == "":
		address = "127.0.0.1:0"
		fallthrough
	default:
		l, err := net.Listen("tcp", address)
		ts.Check(err)
		handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slow {
				time.Sleep(objectserver.Slowness)
			}
			handler.ServeHTTP(w, r)
		})}
		ociServers.Store(l.Addr().String(), s)
		ts.Setenv("REG", l.Addr().String())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Serve(l)
		}()
		ts.Defer(func() {
			stopRegistry(l.Addr().String())
			<-done
		})
	}
}

func stopRegistry(address string) {
	if s, ok := ociServers.LoadAndDelete(address); ok {
		_ = s.(*http.Server).Close()
	}
}
