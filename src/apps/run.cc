// lorry run: one answer, or a chat in the terminal, from a model in this process.
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>

#include "apps/answer.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/conversation.h"
#include "apps/demo_files.h"

namespace lorry::apps {
namespace {

std::atomic<bool> g_interrupted = false;  // by Ctrl-C; lock-free, so a signal handler may set it

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_interrupted = true; };
  action.sa_flags = SA_RESTART;  // at the prompt the terminal itself drops the typed line
  sigaction(SIGINT, &action, nullptr);
}

// With the demo, --adapter may simply name one of its adapters; returns that name and leaves the
// rest in the list.
Result<std::string> TakeDemoAdapter(StackOptions& options) {
  if (!options.model.empty() || options.adapters.size() != 1) return std::string();
  const std::string wanted = options.adapters.front();
  ASSIGN_OR_RETURN(const DemoFiles demo, FindDemo());
  for (const AdapterArgument& adapter : demo.adapters) {
    if (adapter.name == wanted) {
      options.adapters.clear();
      return wanted;
    }
  }
  return std::string();
}

Result<Speaker> FindSpeaker(Stack& stack, const std::string& name) {
  ASSIGN_OR_RETURN(ModelChoice model, stack.Choose(name));
  ASSIGN_OR_RETURN(auto text, stack.TextOf(model));
  return Speaker{std::move(model), std::move(text)};
}

class Terminal {
 public:
  Terminal(Stack& stack, const RunOptions& options, Speaker speaker)
      : stack_(stack), options_(options), speaker_(std::move(speaker)), talk_(options.system) {}

  Status AnswerOnce(const std::string& question) {
    Status status = Say(question);
    fmt::print("\n");
    return status;
  }

  void Chat() {
    const bool is_terminal = isatty(STDIN_FILENO) == 1;
    if (is_terminal) PrintWelcome();
    std::string line;
    while (true) {
      if (is_terminal) {
        fmt::print("{}> ", speaker_.model.name);
        std::fflush(stdout);
      }
      if (!std::getline(std::cin, line) || line == "/quit") break;
      if (line.empty()) continue;
      if (line[0] == '/') {
        Obey(line);
        continue;
      }
      g_interrupted = false;  // Ctrl-C at the prompt was for the typed line
      if (Status status = Say(line); !status) fmt::print("({})", status.error().message);
      fmt::print("\n");
    }
    if (is_terminal) fmt::print("\n");
  }

 private:
  void PrintWelcome() const {
    fmt::print("/adapter NAME  /base  /reset  /help  /quit; Ctrl-C stops an answer\n");
    if (!stack_.directory()->adapters().empty()) PrintAdapters();
  }

  void PrintAdapters() const {
    fmt::print("adapters:");
    const auto directory = stack_.directory();
    for (const AdapterCard& card : directory->adapters()) fmt::print(" {}", card.name);
    fmt::print("\n");
  }

  void Obey(const std::string& line) {
    if (line == "/help") {
      fmt::print(
          "/adapter NAME  answers come from that adapter, the conversation goes on\n"
          "/base          answers come from the base model\n"
          "/reset         a new conversation\n"
          "/quit          or Ctrl-D: leave\n");
    } else if (line == "/reset") {
      talk_.Reset();
    } else if (line == "/base") {
      speaker_ = *FindSpeaker(stack_, "");
    } else if (line.starts_with("/adapter ")) {
      Result<Speaker> speaker = FindSpeaker(stack_, line.substr(9));
      if (speaker) {
        speaker_ = std::move(*speaker);
      } else {
        fmt::print("({}) ", speaker.error().message);
        PrintAdapters();
      }
    } else {
      fmt::print("(unknown command; /help lists them)\n");
    }
  }

  Status Say(const std::string& question) {
    auto prompt = talk_.Ask(question, *speaker_.text);
    if (!prompt) {
      talk_.TakeBack();
      return tl::unexpected<Error>(std::move(prompt.error()));
    }
    const auto show = [](std::string_view piece) {
      fmt::print("{}", piece);
      std::fflush(stdout);
    };
    Result<Answer> answer =
        Generate(stack_, speaker_, std::move(*prompt),
                 MakeSampling(stack_.generation, options_.sampling), show, g_interrupted);
    if (!answer) {
      talk_.TakeBack();
      if (answer.error().code == ErrorCode::kTooLarge)
        answer.error().message += "; /reset starts anew";
      return tl::unexpected<Error>(std::move(answer.error()));
    }
    talk_.Answered(answer->text);
    return {};
  }

  Stack& stack_;
  const RunOptions& options_;
  Speaker speaker_;
  Conversation talk_;
};

Status RunWith(const Options& options, const std::string& prompt) {
  StackOptions stack_options = options.stack;
  ASSIGN_OR_RETURN(std::string adapter, TakeDemoAdapter(stack_options));
  const bool adapters_given =
      !stack_options.adapters.empty() || !stack_options.lora_modules.empty();
  ASSIGN_OR_RETURN(const std::unique_ptr<Stack> stack, Stack::Build(std::move(stack_options)));
  if (adapter.empty() && adapters_given && !stack->adapter_names.empty()) {
    adapter = stack->adapter_names.front();
  }
  ASSIGN_OR_RETURN(Speaker speaker, FindSpeaker(*stack, adapter));
  CatchInterrupts();
  Terminal terminal(*stack, options.run, std::move(speaker));
  if (!prompt.empty()) return terminal.AnswerOnce(prompt);
  terminal.Chat();
  return {};
}

}  // namespace

int Run(const Options& options, const std::string& prompt) {
  const Status status = RunWith(options, prompt);
  if (!status) return Complain("run", status.error().message);
  return g_interrupted && !prompt.empty() ? 130 : 0;
}

}  // namespace lorry::apps
