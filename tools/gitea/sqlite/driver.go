// Package sqlite3 stands in for github.com/mattn/go-sqlite3, which is C, so that building Gitea needs no C compiler.
// It registers SQLite translated to Go (modernc.org/sqlite) under the driver name that Gitea asks for.
package sqlite3

import (
	"database/sql"
	"database/sql/driver"
	"net/url"
	"strings"

	"modernc.org/sqlite"
)

func init() { sql.Register("sqlite3", &goDriver{}) }

type goDriver struct{ sqlite.Driver }

// The C driver's connections share one cache and wait for each other without a limit (unlock_notify). Here each has its own
// cache and waits for the database's lock; Gitea's usual half second is too short for that on a busy machine.
const busyTimeout = "busy_timeout(20000)"

// Open translates the settings that Gitea writes for the C driver; the others are the same in both.
func (d *goDriver) Open(dsn string) (driver.Conn, error) {
	file, settings, _ := strings.Cut(dsn, "?")
	query, err := url.ParseQuery(settings)
	if err != nil {
		return nil, err
	}
	query.Add("_pragma", busyTimeout)
	if mode := query.Get("_journal_mode"); mode != "" {
		query.Add("_pragma", "journal_mode("+mode+")")
	}
	for _, name := range []string{"cache", "_busy_timeout", "_journal_mode"} {
		query.Del(name)
	}
	return d.Driver.Open(file + "?" + query.Encode())
}
