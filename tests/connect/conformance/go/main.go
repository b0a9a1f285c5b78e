// Command conformance drives the official Go client against a development server: conformance URL ADMIN-URL
//
// It is about what this client alone demands: a version in the answer to every call about files, 200 and 204 to the
// letter, an error as JSON, times and lists that decode into its types.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/1Password/connect-sdk-go/connect"
	"github.com/1Password/connect-sdk-go/onepassword"
)

const (
	services = "vaultservicesaaaaaaaaaaaaa"
	payroll  = "vaultpayrollaaaaaaaaaaaaaa"
	scratch  = "vaultscratchaaaaaaaaaaaaaa"
	orders   = "itemordersdbaaaaaaaaaaaaaa"
	title26  = "itemtitle26aaaaaaaaaaaaaaa"
	papers   = "itempapersaaaaaaaaaaaaaaaa"
	odd      = "itemoddaaaaaaaaaaaaaaaaaaa"
	pem      = "filepemaaaaaaaaaaaaaaaaaaa"
	blob     = "fileblobaaaaaaaaaaaaaaaaaa"
)

var (
	binary = []byte{0, 1, 0xff, 0xfe, '\r', '\n', 0}
	nobody = strings.Repeat("x", 26)

	admin string
	every connect.Client
	some  connect.Client
	write connect.Client
	bad   connect.Client
)

// failure is what a check panics with.
type failure struct{ text string }

func fail(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func equal(have, want any) {
	if !reflect.DeepEqual(have, want) {
		fail("have %#v, want %#v", have, want)
	}
}

// refused wants the error of an answer with just this status and message.
func refused(err error, status int, message string) {
	var answer *onepassword.Error
	if !errors.As(err, &answer) {
		fail("not an error of the server's: %v", err)
	}
	equal(*answer, onepassword.Error{StatusCode: status, Message: message})
}

// said wants an error of the client's own.
func said(err error, text string) {
	if err == nil || !strings.Contains(err.Error(), text) {
		fail("have %v, want %q", err, text)
	}
}

type check struct {
	name string
	run  func()
}

var checks = []check{
	{"lists vaults", func() {
		var names []string
		for _, vault := range must(every.GetVaults()) {
			names = append(names, vault.Name)
		}
		sort.Strings(names)
		equal(names, []string{"payroll", "scratch", "services", "two of a kind", "two of a kind"})
		vault := must(some.GetVaultByTitle("services"))
		equal([]any{vault.ID, vault.ContentVersion, vault.Items}, []any{services, 10, 9})
	}},

	{"an item by ids and by titles", func() {
		for _, item := range []*onepassword.Item{
			must(every.GetItem(orders, services)),
			must(every.GetItem("orders-db", "services")),
		} {
			equal([]any{item.ID, item.Vault.ID, item.Version}, []any{orders, services, 1})
			equal([]string{item.GetValue("password"), item.GetValue("connection.port")}, []string{"s3cret", "5432"})
			if item.CreatedAt.IsZero() || item.UpdatedAt.Before(item.CreatedAt) {
				fail("times %v and %v", item.CreatedAt, item.UpdatedAt)
			}
		}
		equal(must(every.GetItem("My Item", services)).GetValue("note"), "two words: ü")
		equal(must(every.GetItem("A & B", services)).ID, "itemampersandaaaaaaaaaaaaa")
		equal(len(must(every.GetItems(services))), 9)
	}},

	{"a title with the form of an id", func() {
		equal(must(every.GetItem("abcdefghijklmnopqrstuvwxyz", services)).ID, title26)
	}},

	{"a category that nobody knows", func() {
		equal(must(every.GetItem(odd, services)).Category, onepassword.Custom)
	}},

	{"no item and two items of a title", func() {
		_, err := every.GetItemByTitle("nothing", services)
		said(err, "Found 0 item(s)")
		_, err = every.GetItemByTitle("twice", services)
		said(err, "Found 2 item(s)")
	}},

	{"errors are read from their bodies", func() {
		_, err := bad.GetVaults()
		refused(err, 401, "Invalid bearer token")
		_, err = some.GetItems(payroll)
		refused(err, 403, "Authorization: token does not have access to vault "+payroll)
		_, err = every.GetItemByUUID(nobody, services)
		refused(err, 404, "item "+nobody+" not found")
		_, err = every.GetItemsByTitle(`a "quote"`, services)
		refused(err, 400, "invalid filter: no quote and no backslash inside of a value")
	}},

	{"files and their content", func() {
		files := must(every.GetFiles(papers, services))
		equal(len(files), 2)
		file := must(every.GetFile(blob, papers, services))
		equal([]any{file.Name, file.Size}, []any{"blob.bin", len(binary)})
		// This client puts its URL before the path as it comes.
		if !strings.HasPrefix(file.ContentPath, "/v1/") {
			fail("content_path %q", file.ContentPath)
		}
		if content := must(every.GetFileContent(file)); !bytes.Equal(content, binary) {
			fail("content %q", content)
		}
		folder := must(os.MkdirTemp("", "conformance"))
		defer os.RemoveAll(folder)
		path := must(every.DownloadFile(must(every.GetFile(pem, papers, services)), folder, false))
		equal(filepath.Base(path), "ca.pem")
		equal(string(must(os.ReadFile(path))), "-----BEGIN")
		_, err := every.GetFile(nobody, papers, services)
		refused(err, 404, "file "+nobody+" not found")
	}},

	{"a version before the first with files ends calls about files", func() {
		present(`{"version": "1.2.0"}`)
		defer present(`{"version": "1.8.2"}`)
		_, err := every.GetFiles(papers, services)
		said(err, "need at least version 1.3.0 of Connect for this function, detected version 1.2.0")
		must(every.GetItem(papers, services))
	}},

	{"an item is made with 200, changed with 200 and deleted with 204", func() {
		made := must(write.CreateItem(&onepassword.Item{
			Title:    "from go",
			Category: onepassword.Login,
			Vault:    onepassword.ItemVault{ID: scratch},
			Tags:     []string{"made"},
			URLs:     []onepassword.ItemURL{{Primary: true, URL: "https://a.example.com"}},
			Sections: []*onepassword.ItemSection{{ID: "more", Label: "more"}},
			Fields: []*onepassword.ItemField{
				{Purpose: onepassword.FieldPurposeUsername, Label: "username", Value: "go"},
				{
					Purpose: onepassword.FieldPurposePassword, Label: "password", Generate: true,
					Recipe: &onepassword.GeneratorRecipe{Length: 12, CharacterSets: []string{"DIGITS"}},
				},
				{Label: "port", Value: "1", Section: &onepassword.ItemSection{ID: "more"}},
			},
		}, scratch))
		equal([]any{made.Title, made.Version, made.URLs[0].URL}, []any{"from go", 1, "https://a.example.com"})
		password := made.GetValue("password")
		if len(password) != 12 || strings.Trim(password, "0123456789") != "" {
			fail("a generated password of %d characters", len(password))
		}

		made.Title = "changed"
		made.Fields[0].Value = "other"
		changed := must(write.UpdateItem(made, scratch))
		equal([]any{changed.Title, changed.GetValue("username")}, []any{"changed", "other"})
		read := must(write.GetItem(made.ID, scratch))
		equal([]any{read.Version, read.GetValue("password")}, []any{changed.Version + 1, password})

		if err := write.DeleteItem(read, scratch); err != nil {
			fail("%v", err)
		}
		_, err := write.GetItemByUUID(made.ID, scratch)
		refused(err, 404, "item "+made.ID+" not found")
		refused(write.DeleteItemByID(made.ID, scratch), 404, "item "+made.ID+" not found")
	}},

	{"what may not be written", func() {
		item := &onepassword.Item{Category: onepassword.Login, Vault: onepassword.ItemVault{ID: scratch}}
		_, err := every.CreateItem(item, scratch)
		refused(err, 403, "Authorization: token does not have permission to perform create on vault "+scratch)
		_, err = write.CreateItem(&onepassword.Item{Vault: onepassword.ItemVault{ID: scratch}}, scratch)
		refused(err, 400, "Validation: (validateVaultItem failed to Validate), category is missing")
	}},
}

// present changes what the server says of itself.
func present(body string) {
	request := must(http.NewRequest(http.MethodPatch, admin+"/presence", strings.NewReader(body)))
	request.Header.Set("Content-Type", "application/json")
	answer := must(http.DefaultClient.Do(request))
	defer answer.Body.Close()
	equal(answer.StatusCode, http.StatusNoContent)
}

// passes runs a check and says what is wrong.
func (c check) passes() (ok bool) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			fmt.Fprintf(os.Stderr, "FAILED %s: %s\n", c.name, reason.text)
			ok = false
		default:
			fmt.Fprintf(os.Stderr, "FAILED %s: %v\n%s", c.name, reason, debug.Stack())
			ok = false
		}
	}()
	c.run()
	return true
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: conformance URL ADMIN-URL")
		os.Exit(2)
	}
	url := os.Args[1]
	admin = os.Args[2]
	every = connect.NewClient(url, "all-vaults")
	some = connect.NewClient(url, "services-only")
	write = connect.NewClient(url, "writes-scratch")
	bad = connect.NewClient(url, "nobody")

	failed := 0
	for _, check := range checks {
		if !check.passes() {
			failed++
		}
	}
	fmt.Printf("conformance go: %d passed, %d failed\n", len(checks)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
