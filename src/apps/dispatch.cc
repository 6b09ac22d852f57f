#include "apps/dispatch.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <string_view>

#include "apps/bench_command.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/merge_command.h"
#include "base/log.h"
#include "base/spelling.h"
#include "config/help.h"
#include "config/load.h"
#include "text/worker_frames.h"
#include "text/worker_main.h"

namespace lorry::apps {
namespace {

using Words = std::vector<std::string>;

constexpr size_t kAnyNumber = 1000;
constexpr int kWrongCommandLine = 2;

struct Command {
  std::string name;
  std::string usage;
  std::string summary;
  size_t min_words;
  size_t max_words;
  int (*run)(Options& options, const Words& words);
};

bool LooksLikeModel(const std::string& word) {
  std::error_code error;
  return std::filesystem::is_directory(word, error) ||
         (word.find('/') != std::string::npos && word.find(' ') == std::string::npos);
}

// Of `lorry serve [MODEL]` and `lorry run`, whose words are MODEL PROMPT, MODEL, PROMPT or nothing:
// a lone one is the model if it is a directory. Empty: no word is the model.
std::string ModelWord(std::string_view command, const Words& words) {
  const bool has_model = command == "serve" ? words.size() == 1
                         : command == "run"
                             ? words.size() == 2 || (words.size() == 1 && LooksLikeModel(words[0]))
                             : false;
  return has_model ? words[0] : "";
}

int ServeCommand(Options& options, const Words&) { return Serve(options); }

int RunCommand(Options& options, const Words& words) {
  const bool has_prompt = words.size() > (ModelWord("run", words).empty() ? 0 : 1);
  return Run(options, has_prompt ? words.back() : "");
}

int InspectCommand(Options& options, const Words& words) { return Inspect(options, words[0]); }

int PullCommand(Options& options, const Words& words) { return Pull(options, words); }

int LsCommand(Options& options, const Words&) { return Ls(options); }

int RmCommand(Options& options, const Words& words) { return Rm(options, words); }

int PinCommand(Options& options, const Words& words) { return Pin(options, words); }

int TopCommand(Options& options, const Words& words) {
  return Top(options, words.empty() ? "http://127.0.0.1:8000" : words[0]);
}

int VersionCommand(Options& options, const Words&) { return Version(options); }

const std::array kCommands = {
    Command{"serve", "[MODEL] [options]", "serve a model and its adapters over HTTP", 0, 1,
            ServeCommand},
    Command{"run", "[MODEL] [options] [PROMPT]",
            "one answer; without a prompt a chat in the terminal", 0, 2, RunCommand},
    Command{"inspect", "SOURCE [--base MODEL] | MODEL", "what is in it, and would it be applied", 1,
            1, InspectCommand},
    Command{"pull", "SOURCE... [--base MODEL]", "adapters into this machine's caches, resumable", 1,
            kAnyNumber, PullCommand},
    Command{"ls", "[--url URL]", "adapters in the cache, or of a running server", 0, 0, LsCommand},
    Command{"rm", "NAME|ID|SOURCE... [--url URL]", "out of the cache, or of a running server", 1,
            kAnyNumber, RmCommand},
    Command{"pin", "NAME|ID|SOURCE... [--unpin]", "never evict it from cache, or a server's memory",
            1, kAnyNumber, PinCommand},
    Command{"top", "[URL]", "a running server's streams, tiers and adapters, live", 0, 1,
            TopCommand},
    Command{"version", "", "version, build and instruction set", 0, 0, VersionCommand},
};

int PrintUsage(FILE* file) {
  fmt::print(file, "lorry serves one base model and many LoRA adapters from one process\n\n");
  for (const Command& command : kCommands) {
    fmt::print(file, "  lorry {:<8} {:<32} {}\n", command.name, command.usage, command.summary);
  }
  fmt::print(file, "  lorry {:<8} {:<32} {}\n", "merge", "MODEL --adapter DIR[@W] -o DIR",
             "adapters into a model on disk, or into one adapter");
  fmt::print(file, "  lorry {:<8} {:<32} {}\n", "bench", "SUBCOMMAND",
             "measure this machine, kernels, steps, servers");
  fmt::print(file, "\nlorry COMMAND --help lists its options; without a MODEL the demo is used\n");
  return file == stderr ? kWrongCommandLine : 0;
}

int UnknownCommand(const std::string& word) {
  std::vector<std::string> known;
  for (const Command& command : kCommands) known.push_back(command.name);
  known.insert(known.end(), {"merge", "bench"});
  const std::string nearest = Nearest(word, known);
  log::WritePlain(fmt::format(
      "lorry: unknown command {}{}", word,
      nearest.empty() ? "; lorry help lists them" : fmt::format(", did you mean {}?", nearest)));
  return kWrongCommandLine;
}

int RunLoaded(const Command& command, const Words& args) {
  Options options;
  const bool is_talkative = command.name == "serve" || command.name == "pull";
  if (!is_talkative) options.log.level = log::Level::kWarning;
  config::Registry registry;
  RegisterOptions(registry, &options);
  Result<config::Loaded> loaded =
      config::Load(registry, command.name, args, config::ProcessEnvironment());
  if (!loaded) return Complain(command.name, loaded.error().message, kWrongCommandLine);
  if (loaded->help) {
    fmt::print("lorry {} {}: {}\n{}", command.name, command.usage, command.summary,
               config::HelpText(registry, command.name));
    return 0;
  }
  log::Configure(options.log);
  for (const std::string& warning : loaded->warnings) log::Warning("{}", warning);
  for (const config::Option* option : registry.Of(command.name)) {
    if (!option->set_by.empty()) log::Debug("{} was set by {}", option->Flag(), option->set_by);
  }
  const Words& words = loaded->words;
  if (std::ranges::find(words, "") != words.end()) {  // not the demo, in place of "$MODEL"
    return Complain(command.name,
                    fmt::format("a word is empty; was a variable never set? usage: lorry {} {}",
                                command.name, command.usage),
                    kWrongCommandLine);
  }
  if (words.size() > command.max_words) {
    return Complain(command.name,
                    fmt::format("unexpected word '{}'; usage: lorry {} {}",
                                words[command.max_words], command.name, command.usage),
                    kWrongCommandLine);
  }
  if (words.size() < command.min_words) {
    return Complain(command.name, fmt::format("usage: lorry {} {}", command.name, command.usage),
                    kWrongCommandLine);
  }
  if (const std::string model = ModelWord(command.name, words); !model.empty()) {
    const bool has_flag = registry.Find("model")->set_by == "--model";
    if (has_flag && options.stack.model != model) {
      return Complain(
          command.name,
          fmt::format("two models: the word {} and --model {}", model, options.stack.model),
          kWrongCommandLine);
    }
    options.stack.model = model;
  }
  return command.run(options, words);
}

// `lorry help COMMAND` is `lorry COMMAND --help`.
int Help(const Words& args) {
  if (args.empty() || args[0] == "--help" || args[0] == "-h") return PrintUsage(stdout);
  if (args[0] != "--markdown") {
    Words words = args;
    words.push_back("--help");
    return words[0] == "help" ? PrintUsage(stdout) : Dispatch(words);
  }
  Options options;
  config::Registry registry;
  RegisterOptions(registry, &options);
  fmt::print("{}{}", config::MarkdownText(registry), BenchOptionsMarkdown());
  return 0;
}

int DispatchTo(const Words& args) {
  if (args.empty()) return PrintUsage(stderr);
  const std::string& word = args[0];
  if (word == text::kWorkerCommand) return text::RunTextWorker();
  const Words rest(args.begin() + 1, args.end());
  if (word == "help" || word == "--help" || word == "-h") return Help(rest);
  if (word == "merge") return RunMergeCommand(rest);
  if (word == "bench") return RunBenchCommand(rest);
  const std::string wanted = word == "--version" ? "version" : word;
  for (const Command& command : kCommands) {
    if (command.name == wanted) return RunLoaded(command, rest);
  }
  return UnknownCommand(word);
}

}  // namespace

int Dispatch(const std::vector<std::string>& args) {
  const int exit_status = DispatchTo(args);
  log::Flush();
  return exit_status;
}

}  // namespace lorry::apps
