// lorry top: a running server, looked at again and again.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <boost/json.hpp>
#include <chrono>
#include <thread>

#include "apps/admin_client.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/interrupts.h"
#include "apps/terminal.h"
#include "apps/text_table.h"
#include "apps/top_view.h"
#include "base/clock.h"
#include "formats/json.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds kAnswerLimit(5);
constexpr char kCtrlC = 3;

double Now() { return SecondsBetween(0, Clock::Steady().NowUs()); }

Result<TopAdapter> AdapterOf(const formats::JsonFields& fields) {
  TopAdapter adapter;
  ASSIGN_OR_RETURN(adapter.tier, fields.Or<std::string>("tier", ""));
  ASSIGN_OR_RETURN(adapter.rank, fields.Or<int64_t>("rank", 0));
  ASSIGN_OR_RETURN(adapter.num_bytes, fields.Or<int64_t>("bytes", 0));
  ASSIGN_OR_RETURN(adapter.num_waiting, fields.Or<int64_t>("waiting", 0));
  std::vector<std::string> notes;
  for (const char* flag : {"pinned", "loading"}) {
    ASSIGN_OR_RETURN(const bool is_set, fields.Or<bool>(flag, false));
    if (is_set) notes.emplace_back(flag);
  }
  if (fields.Find("error") != nullptr) notes.emplace_back("failed");
  adapter.note = fmt::format("{}", fmt::join(notes, ", "));
  return adapter;
}

class Viewer {
 public:
  Viewer(AdminClient client, std::string url, bool with_adapters)
      : client_(std::move(client)), url_(std::move(url)), with_adapters_(with_adapters) {}

  Result<TopLook> Look() {
    TopLook look;
    ASSIGN_OR_RETURN(const std::string page, client_.Get("/metrics"));
    look.at_s = Now();
    look.metrics = MetricsText::Parse(page);
    if (!with_adapters_) return look;
    ASSIGN_OR_RETURN(const json::array adapters, client_.List());
    for (const json::value& adapter : adapters) {
      const formats::JsonFields fields(adapter.get_object(), url_);
      ASSIGN_OR_RETURN(const std::string name, fields.Required<std::string>("name"));
      ASSIGN_OR_RETURN(look.adapters[name], AdapterOf(fields));
    }
    return look;
  }

  Status Once(std::chrono::microseconds interval, const std::atomic<bool>& interrupted) {
    ASSIGN_OR_RETURN(const TopLook before, Look());
    const auto end = std::chrono::steady_clock::now() + interval;
    while (std::chrono::steady_clock::now() < end && !interrupted) {
      std::this_thread::sleep_for(std::min<std::chrono::microseconds>(interval, kPause));
    }
    ASSIGN_OR_RETURN(const TopLook now, Look());
    for (const std::string& line : RenderTop(url_, before, now, {})) fmt::print("{}\n", line);
    return {};
  }

  // Until a key or a signal ends it.
  void Watch(Terminal terminal, std::chrono::microseconds interval,
             const std::atomic<bool>& interrupted) {
    Result<TopLook> now = Look();
    TopLook before = now.value_or(TopLook());
    while (!interrupted) {
      const auto next_look = std::chrono::steady_clock::now() + interval;
      do {
        terminal.Draw(Picture(before, now, terminal.Size()));
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            next_look - std::chrono::steady_clock::now());
        const auto key = terminal.WaitKey(std::max(left, std::chrono::milliseconds(1)));
        if (key == 'q' || key == 'Q' || key == kCtrlC) return;
      } while (std::chrono::steady_clock::now() < next_look && !interrupted);
      if (now) before = std::move(*now);
      now = Look();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kPause{50};

  std::vector<std::string> Picture(const TopLook& before, const Result<TopLook>& now,
                                   const TopSize& size) const {
    if (now) return RenderTop(url_, before, *now, size);
    return {KeptBegin(now.error().message, static_cast<size_t>(size.columns)), "",
            KeptBegin("trying again; q ends", static_cast<size_t>(size.columns))};
  }

  AdminClient client_;
  const std::string url_;
  const bool with_adapters_;
};

}  // namespace

int Top(const Options& options, const std::string& url) {
  const std::atomic<bool>& interrupted = CatchInterrupts();
  const std::string& admin_key = options.serve.http.admin.key;
  const std::vector<std::string>& api_keys = options.serve.http.api_keys;
  const std::string key = admin_key.empty() && !api_keys.empty() ? api_keys.front() : admin_key;
  auto client = AdminClient::Create(url, key, kAnswerLimit);
  if (!client) return Complain("top", client.error().message);
  Viewer viewer(std::move(*client), url, !admin_key.empty());
  const std::chrono::microseconds interval(std::max<Micros>(options.adapter.interval_us, 100'000));
  if (auto terminal = options.adapter.once ? std::nullopt : Terminal::Open()) {
    viewer.Watch(std::move(*terminal), interval, interrupted);
    return 0;
  }
  const Status status = viewer.Once(interval, interrupted);
  return status ? 0 : Complain("top", status.error().message);
}

}  // namespace lorry::apps
