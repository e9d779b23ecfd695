// Command kustomize-render renders one kustomization after the other in one process, with the library that the kustomize command is made
// of: the same bytes for a third of the processor time, most of which a process of its own takes to start.
//
// It reads requests from standard input and writes an answer to each to standard output, one JSON object a line:
//
//	{"directory": "/tree/overlays/dev/web"}
//	{"yaml": "apiVersion: …", "looked": ["/tree/base/web/kustomization.yaml", …]}
//	{"error": "accumulating resources: …", "looked": […]}
//
// `looked` has every path that the rendering depends on: what was read, and what was looked for and may be absent.
// A panic is the error of its request. What ends the process (a stack without end, memory above the limit) is the caller's to see.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// version is set by the linker to the version of the kustomize module.
var version = "unknown"

// defaultSchema is what the library uses while no kustomization says otherwise.
var defaultSchema = openapi.GetSchemaVersion()

type request struct {
	Directory string `json:"directory"`
}

type answer struct {
	YAML   string   `json:"yaml,omitempty"`
	Error  string   `json:"error,omitempty"`
	Looked []string `json:"looked"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("kustomize-render", version)
		return
	}
	limitMemory(os.Getenv("RENDER_MEMORY"))
	// Garbage is collected eight times as late as usual: an overlay needs a few megabytes.
	debug.SetGCPercent(800)
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		var asked request
		if err := in.Decode(&asked); err != nil {
			return
		}
		if err := encoder.Encode(render(asked.Directory)); err != nil {
			log.Fatal(err)
		}
		if err := out.Flush(); err != nil {
			log.Fatal(err)
		}
	}
}

func render(directory string) (result answer) {
	fs := &recorder{FileSystem: filesys.MakeFsOnDisk(), paths: map[string]struct{}{}}
	defer func() {
		cause := recover()
		if cause != nil {
			result.YAML = ""
			result.Error = fmt.Sprint("panic: ", cause)
		}
		// A schema that a kustomization brings stays in the library's memory: the next one must not be merged by it.
		if cause != nil || openapi.GetSchemaVersion() != defaultSchema {
			openapi.ResetOpenAPI()
		}
		result.Looked = fs.sorted()
	}()
	// The command's own defaults: commands/build/build.go, HonorKustomizeFlags.
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified
	resources, err := krusty.MakeKustomizer(options).Run(fs, directory)
	if err != nil {
		return answer{Error: err.Error()}
	}
	yaml, err := resources.AsYaml()
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{YAML: string(yaml)}
}

// limitMemory ends the process when its data needs more than so many bytes.
func limitMemory(text string) {
	bytes, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		log.Fatal("memory cannot be limited: ", err)
	}
	// Near the limit garbage is collected in time.
	debug.SetMemoryLimit(int64(bytes / 4 * 3))
}

// recorder notes the paths that are asked for.
type recorder struct {
	filesys.FileSystem
	paths map[string]struct{}
}

func (r *recorder) note(path string) {
	if absolute, err := filepath.Abs(path); err == nil {
		r.paths[absolute] = struct{}{}
	}
}

func (r *recorder) sorted() []string {
	paths := make([]string, 0, len(r.paths))
	for path := range r.paths {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func (r *recorder) Open(path string) (filesys.File, error) {
	r.note(path)
	return r.FileSystem.Open(path)
}

func (r *recorder) IsDir(path string) bool {
	r.note(path)
	return r.FileSystem.IsDir(path)
}

func (r *recorder) ReadDir(path string) ([]string, error) {
	r.note(path)
	return r.FileSystem.ReadDir(path)
}

func (r *recorder) CleanedAbs(path string) (filesys.ConfirmedDir, string, error) {
	r.note(path)
	return r.FileSystem.CleanedAbs(path)
}

func (r *recorder) Exists(path string) bool {
	r.note(path)
	return r.FileSystem.Exists(path)
}

func (r *recorder) Glob(pattern string) ([]string, error) {
	r.note(pattern)
	return r.FileSystem.Glob(pattern)
}

func (r *recorder) ReadFile(path string) ([]byte, error) {
	r.note(path)
	return r.FileSystem.ReadFile(path)
}

func (r *recorder) Walk(path string, visit filepath.WalkFunc) error {
	r.note(path)
	return r.FileSystem.Walk(path, visit)
}
