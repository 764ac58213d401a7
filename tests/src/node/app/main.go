// The one program of the images of a real node: it does what its first argument says.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(2, "usage: app pause|serve|crash|end|hog ARGUMENT...")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "pause":
		rest()
	case "serve":
		serve(args)
	case "crash":
		crash(args)
	case "end":
		fmt.Println("nothing to do")
	case "hog":
		hog()
	default:
		fail(2, "app: unknown command "+os.Args[1])
	}
}

// Listens on port 8080, if given after a while, and until a time when it panics.
func serve(args []string) {
	time.Sleep(duration(args, 0))
	if life := duration(args, 1); life > 0 {
		time.AfterFunc(life, func() { panic("the cache is inconsistent") })
	}
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		fail(1, err.Error())
	}
	fmt.Println("listening on", listener.Addr())
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	rest()
}

// Crashes after a second; with a folder that outlives it and a number, only so many times, and then serves.
func crash(args []string) {
	if len(args) == 2 {
		runs, _ := filepath.Glob(filepath.Join(args[0], "run-*"))
		if fmt.Sprint(len(runs)) == args[1] {
			serve(nil)
			return
		}
		if _, err := os.CreateTemp(args[0], "run-*"); err != nil {
			fail(1, err.Error())
		}
	}
	// All to one stream: the runtime does not keep the order between two.
	fmt.Fprintln(os.Stderr, "starting")
	fmt.Fprintln(os.Stderr, "opening the database of instance", time.Now().UnixNano())
	time.Sleep(time.Second)
	fail(1, "cannot reach the database: connection refused")
}

// Takes memory until there is none.
func hog() {
	var taken [][]byte
	for {
		piece := make([]byte, 1<<20)
		for i := range piece {
			piece[i] = 1
		}
		taken = append(taken, piece)
	}
}

// Waits to be told to end.
func rest() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	<-told
}

func duration(args []string, at int) time.Duration {
	if len(args) <= at {
		return 0
	}
	length, err := time.ParseDuration(args[at])
	if err != nil {
		fail(2, err.Error())
	}
	return length
}

func fail(code int, message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(code)
}
