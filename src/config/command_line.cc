#include "config/command_line.h"

#include <fmt/core.h>

#include <optional>

#include "base/spelling.h"

namespace lorry::config {
namespace {

class Splitter {
 public:
  Splitter(const Registry& registry, std::string_view command, const std::vector<std::string>& args)
      : registry_(registry), command_(command), args_(args) {}

  Result<CommandLine> Split() {
    while (next_ < args_.size()) {
      const std::string& arg = args_[next_++];
      if (arg == "--") {
        line_.words.insert(line_.words.end(), args_.begin() + static_cast<long>(next_),
                           args_.end());
        break;
      }
      if (arg == "-h" || arg == "--help") {
        line_.help = true;
      } else if (IsFlag(arg)) {
        RETURN_IF_ERROR(TakeFlag(arg));
      } else {
        line_.words.push_back(arg);
      }
    }
    return std::move(line_);
  }

 private:
  // A negative number is a value, even where its option then refuses it.
  static bool IsFlag(std::string_view arg) {
    if (arg.size() < 2 || arg[0] != '-') return false;
    const bool is_number = arg[1] >= '0' && arg[1] <= '9';
    return !is_number;
  }

  Status TakeFlag(const std::string& arg) {
    const size_t equals = arg.find('=');
    const std::string written = arg.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = arg.substr(equals + 1);

    const std::string_view name =
        std::string_view(written).substr(written.starts_with("--") ? 2 : 1);
    const Option* option = written.starts_with("--") ? registry_.Find(name) : nullptr;
    if (option == nullptr && name.starts_with("no-") && !value) {
      option = registry_.Find(name.substr(3));
      if (option != nullptr && option->arity == Arity::kSwitch) value = "false";
    }
    if (option == nullptr || !option->TakenBy(command_)) return Unknown(written, name, option);

    std::vector<std::string>& values = line_.values[option->text.name];
    if (option->arity == Arity::kSwitch) {
      values.push_back(value.value_or("true"));
      return {};
    }
    if (value) {
      values.push_back(*value);
    } else if (next_ < args_.size() && !IsFlag(args_[next_])) {
      values.push_back(args_[next_++]);
    } else {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{} needs a value: {} {}", written, option->Flag(), option->text.value_name),
          option->text.name);
    }
    if (option->arity == Arity::kGreedy) {
      while (next_ < args_.size() && !IsFlag(args_[next_])) values.push_back(args_[next_++]);
    }
    return {};
  }

  tl::unexpected<Error> Unknown(const std::string& written, std::string_view name,
                                const Option* of_other_command) const {
    if (of_other_command != nullptr) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is not an option of `lorry {}`, but of `lorry {}`", written,
                              command_, of_other_command->commands.front()));
    }
    std::vector<std::string> known = registry_.NamesOf(command_);
    known.push_back("help");
    const std::string nearest = Nearest(name, known);
    const std::string hint = nearest.empty() ? fmt::format("`lorry {} --help` lists them", command_)
                                             : fmt::format("did you mean --{}?", nearest);
    return Fail(ErrorCode::kInvalidArgument, fmt::format("unknown option {}, {}", written, hint));
  }

  const Registry& registry_;
  const std::string_view command_;
  const std::vector<std::string>& args_;
  size_t next_ = 0;
  CommandLine line_;
};

}  // namespace

Result<CommandLine> SplitCommandLine(const Registry& registry, std::string_view command,
                                     const std::vector<std::string>& args) {
  return Splitter(registry, command, args).Split();
}

}  // namespace lorry::config
