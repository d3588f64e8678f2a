package page

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

var functions = template.FuncMap{"name": status.Plain, "size": status.Size, "count": count, "plural": plural, "add": func(a, b int) int { return a + b }}

// count writes a number with thin groups of three digits.
func count(n int) string {
	digits := strconv.Itoa(n)
	var groups []string
	for len(digits) > 3 && digits[len(digits)-4] != '-' {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), "\u202f")
}

// plural writes a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return pairOf(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return pairOf(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return pairOf(int(d.Hours()/24), "d", int(d.Hours())%24, "h")
}

func pairOf(a int, unit string, b int, smaller string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, smaller)
}

func seconds(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// coarse writes a duration so that it seldom changes.
func coarse(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "a moment"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds())/10*10)
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// moment is a time as people read it.
type moment struct {
	ISO   string // for programs
	Clock string // on the clock of this host
	Ago   string
}

// at describes a time; the zero time is nil.
func at(now, t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	ago := coarse(now.Sub(t)) + " ago"
	if now.Sub(t) < 10*time.Second {
		ago = "just now"
	}
	t = t.Local()
	return &moment{ISO: t.Format(time.RFC3339), Clock: t.Format("2006-01-02 15:04:05 MST"), Ago: ago}
}

func atPointer(now time.Time, t *time.Time) *moment {
	if t == nil {
		return nil
	}
	return at(now, *t)
}
