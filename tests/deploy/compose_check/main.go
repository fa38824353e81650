// Command compose_check loads a Compose project as `docker compose` does, and prints it as JSON.
//
//	compose_check [-profile NAME] ENV_FILE COMPOSE_FILE…
//
// The first Compose file's folder is the project's. Only the env file counts, not the environment. A project that Compose
// would refuse is one line on standard error and exit code 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
)

func main() {
	profile := flag.String("profile", "", "a profile to activate")
	flag.Parse()
	if err := run(*profile, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "compose_check:", err)
		os.Exit(1)
	}
}

func run(profile string, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: compose_check [-profile NAME] ENV_FILE COMPOSE_FILE")
	}
	environment, err := dotenv.Read(args[0])
	if err != nil {
		return err
	}
	var assignments []string
	for name, value := range environment {
		assignments = append(assignments, name+"="+value)
	}
	var profiles []string
	if profile != "" {
		profiles = append(profiles, profile)
	}
	options, err := cli.NewProjectOptions(args[1:],
		cli.WithWorkingDirectory(filepath.Dir(args[1])),
		cli.WithEnv(assignments),
		cli.WithProfiles(profiles),
	)
	if err != nil {
		return err
	}
	// Validates against the Compose schema, interpolates, merges, and refuses unknown dependencies and volumes.
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	project, err = project.WithServicesEnvironmentResolved(true)
	if err != nil {
		return err
	}
	if err := project.CheckContainerNameUnicity(); err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(project)
}
