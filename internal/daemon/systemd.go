package daemon

import (
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// systemd is told how the daemon is doing, if it asked to be told (sd_notify(3)).
type systemd struct {
	log      zerolog.Logger
	watchdog time.Duration // within which it wants to hear; 0 for no watchdog
	fed      time.Time
	said     string
	saidAt   time.Time
	lost     bool // a message could not be sent, which was logged
}

func newSystemd(log zerolog.Logger) systemd {
	s := systemd{log: log}
	var err error
	if s.watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		log.Warn().Err(err).Msg("ignoring the watchdog")
	}
	return s
}

// within is after which time a goroutine that does not move is not let off.
func (s *systemd) within() time.Duration {
	if s.watchdog == 0 {
		return hungAfter
	}
	return min(hungAfter, max(s.watchdog, 2*tick))
}

// period is the time between two turns of the coordinator.
func (s *systemd) period() time.Duration {
	if s.watchdog == 0 {
		return tick
	}
	return min(tick, s.watchdog/3)
}

// feed keeps the watchdog quiet.
func (s *systemd) feed(now time.Time) {
	if s.watchdog > 0 && now.Sub(s.fed) >= s.watchdog/3 {
		s.fed = now
		s.notify(sd.SdNotifyWatchdog)
	}
}

// sayEach is the shortest time between two status lines that nobody asked for.
const sayEach = 2 * time.Second

// say shows a sentence, unless it is shown already.
func (s *systemd) say(sentence string, now time.Time) {
	if sentence == s.said || now.Sub(s.saidAt) < sayEach {
		return
	}
	s.said, s.saidAt = sentence, now
	s.notify("STATUS=" + sentence)
}

// ready tells that everything works, or works again.
func (s *systemd) ready(sentence string, now time.Time) {
	s.said, s.saidAt = sentence, now
	s.notify(sd.SdNotifyReady + "\nSTATUS=" + sentence)
}

func (s *systemd) reloading() {
	s.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, monotonic().Microseconds()))
}

func (s *systemd) stopping() { s.notify(sd.SdNotifyStopping) }

// extend asks for more time to start.
func (s *systemd) extend(by time.Duration) {
	s.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", by.Microseconds()))
}

func (s *systemd) notify(state string) {
	_, err := sd.SdNotify(false, state)
	if err != nil && !s.lost {
		s.log.Warn().Err(err).Msg("cannot notify systemd")
	}
	s.lost = err != nil
}

// clocks notice that the machine was suspended: CLOCK_BOOTTIME goes on meanwhile, CLOCK_MONOTONIC does not
// (clock_gettime(2)).
type clocks struct {
	asleep func() time.Duration // since the machine was booted; tests replace it
	before time.Duration
}

func newClocks() clocks {
	return clocks{asleep: asleep, before: asleep()}
}

// minSleep is the shortest suspend that matters.
const minSleep = 2 * time.Second

// slept returns for how long the machine was suspended since the last call.
func (c *clocks) slept() time.Duration {
	now := c.asleep()
	slept := now - c.before
	c.before = now
	if slept < minSleep {
		return 0
	}
	return slept
}

func asleep() time.Duration { return clockAt(unix.CLOCK_BOOTTIME) - monotonic() }

func monotonic() time.Duration { return clockAt(unix.CLOCK_MONOTONIC) }

func clockAt(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
