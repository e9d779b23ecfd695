// Command miniredis serves the in-memory Redis that Argo CD embeds for `argocd --core`.
// The sandbox uses it where the machine has neither redis-server nor valkey-server; nothing in it outlives the process.
//
// Usage: REDIS_PASSWORD=… miniredis 127.0.0.1:6379
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// version is set by the linker to the version of the miniredis module.
var version = "unknown"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("miniredis", version)
		return
	}
	password := os.Getenv("REDIS_PASSWORD")
	if len(os.Args) != 2 || password == "" {
		log.Fatal("usage: REDIS_PASSWORD=… miniredis <address>")
	}
	server := miniredis.NewMiniRedis()
	server.RequireAuth(password)
	if err := server.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	// Its clock stands still unless it is moved: without this, nothing cached would ever expire.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
