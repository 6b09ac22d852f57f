#include "formats/pickle_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include "base/check.h"

namespace lorry::formats {
namespace {

using Kind = PickleValue::Kind;

// A state dict takes about 30 steps per tensor.
constexpr size_t kMaxSteps = 4'000'000;
constexpr int kProtocol = 2;  // what torch.save writes

// Python's pickletools describes them all.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kNoneOp = 'N',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kBinUnicode = 'X',
  kEmptyTuple = ')',
  kTupleOp = 't',
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kGlobal = 'c',
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

// The opcodes that are refused, for the message.
std::string_view OpcodeName(uint8_t opcode) {
  static constexpr std::pair<uint8_t, std::string_view> kNames[] = {
      {'0', "POP"},
      {'1', "POP_MARK"},
      {'2', "DUP"},
      {'F', "FLOAT"},
      {'G', "BINFLOAT"},
      {'I', "INT"},
      {'L', "LONG"},
      {'P', "PERSID"},
      {'S', "STRING"},
      {'T', "BINSTRING"},
      {'U', "SHORT_BINSTRING"},
      {'V', "UNICODE"},
      {'B', "BINBYTES"},
      {'C', "SHORT_BINBYTES"},
      {'d', "DICT"},
      {'l', "LIST"},
      {'g', "GET"},
      {'p', "PUT"},
      {'i', "INST"},
      {'o', "OBJ"},
      {0x81, "NEWOBJ"},
      {0x82, "EXT1"},
      {0x83, "EXT2"},
      {0x84, "EXT4"},
      {0x8b, "LONG4"},
      {0x8c, "SHORT_BINUNICODE"},
      {0x8d, "BINUNICODE8"},
      {0x8e, "BINBYTES8"},
      {0x8f, "EMPTY_SET"},
      {0x90, "ADDITEMS"},
      {0x91, "FROZENSET"},
      {0x92, "NEWOBJ_EX"},
      {0x93, "STACK_GLOBAL"},
      {0x94, "MEMOIZE"},
      {0x95, "FRAME"},
      {0x96, "BYTEARRAY8"},
      {0x97, "NEXT_BUFFER"},
      {0x98, "READONLY_BUFFER"},
  };
  for (const auto& [code, name] : kNames) {
    if (code == opcode) return name;
  }
  return "unknown";
}

tl::unexpected<Error> Malformed(std::string message) {
  return Fail(ErrorCode::kDataLoss, std::move(message));
}

// The machine: a stack, marks into it, and a memo.
class Machine {
 public:
  Machine(std::span<const std::byte> pickle, PickleEnvironment& environment, PickleHeap& heap)
      : pickle_(pickle), environment_(environment), heap_(heap) {}

  Result<PickleResult> Run() {
    for (size_t num_steps = 0; num_steps < kMaxSteps; ++num_steps) {
      const size_t begin = at_;
      Result<bool> stopped = Step();
      if (!stopped) return Annotate(std::move(stopped.error()), fmt::format("at byte {}", begin));
      if (*stopped) return PickleResult{stack_.back(), at_};
    }
    return Fail(ErrorCode::kTooLarge, fmt::format("more than {} steps", kMaxSteps));
  }

 private:
  // One opcode; true at STOP.
  Result<bool> Step();
  Status Construct(uint8_t opcode);
  Status Number(uint8_t opcode);
  Status Memo(uint8_t opcode);

  // Of the pickle itself.
  Result<std::string_view> Take(size_t count);
  Result<std::string_view> TakeLine();
  template <typename T>
  Result<T> TakeNumber();

  // Of the stack, never below the last mark.
  size_t Available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Result<PickleValue> Pop();
  Result<std::vector<PickleValue>> PopMany(size_t count);
  Result<std::vector<PickleValue>> PopToMark();
  Result<PickleValue> TopOf(Kind kind);

  Status Extend(Kind kind, Result<std::vector<PickleValue>> items);
  Status PushTuple(Result<std::vector<PickleValue>> items);
  Status Push(Result<PickleValue> value);
  Status PushGlobal();
  Status Call();
  Status SetState();

  std::span<const std::byte> pickle_;
  PickleEnvironment& environment_;
  PickleHeap& heap_;
  size_t at_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<size_t> marks_;  // the stack's height at each
  std::unordered_map<uint32_t, PickleValue> memo_;
};

Result<std::string_view> Machine::Take(size_t count) {
  if (count > pickle_.size() - at_) return Malformed("the pickle is cut short");
  const std::string_view taken(reinterpret_cast<const char*>(pickle_.data()) + at_, count);
  at_ += count;
  return taken;
}

Result<std::string_view> Machine::TakeLine() {
  const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + at_,
                              pickle_.size() - at_);
  const size_t end = rest.find('\n');
  if (end == std::string_view::npos) return Malformed("the pickle is cut short");
  at_ += end + 1;
  return rest.substr(0, end);
}

template <typename T>
Result<T> Machine::TakeNumber() {
  ASSIGN_OR_RETURN(const std::string_view bytes, Take(sizeof(T)));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

Result<PickleValue> Machine::Pop() {
  if (Available() == 0) return Malformed("takes from an empty stack");
  const PickleValue value = stack_.back();
  stack_.pop_back();
  return value;
}

Result<std::vector<PickleValue>> Machine::PopMany(size_t count) {
  if (Available() < count) return Malformed("takes from an empty stack");
  std::vector<PickleValue> items(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
  stack_.resize(stack_.size() - count);
  return items;
}

Result<std::vector<PickleValue>> Machine::PopToMark() {
  if (marks_.empty()) return Malformed("there is no mark");
  ASSIGN_OR_RETURN(std::vector<PickleValue> items, PopMany(Available()));
  marks_.pop_back();
  return items;
}

// It stays on the stack.
Result<PickleValue> Machine::TopOf(Kind kind) {
  if (Available() == 0) return Malformed("takes from an empty stack");
  if (stack_.back().kind != kind) {
    return Malformed(fmt::format("{} where {} must stand", PickleKindName(stack_.back().kind),
                                 PickleKindName(kind)));
  }
  return stack_.back();
}

Status Machine::Push(Result<PickleValue> value) {
  RETURN_IF_ERROR(value);
  stack_.push_back(*value);
  return {};
}

Status Machine::PushTuple(Result<std::vector<PickleValue>> items) {
  RETURN_IF_ERROR(items);
  stack_.push_back(heap_.New(Kind::kTuple, std::move(*items)));
  return {};
}

// Adds to the list or dict below.
Status Machine::Extend(Kind kind, Result<std::vector<PickleValue>> items) {
  RETURN_IF_ERROR(items);
  if (kind == Kind::kDict && items->size() % 2 != 0) return Malformed("a key without a value");
  ASSIGN_OR_RETURN(const PickleValue container, TopOf(kind));
  std::vector<PickleValue>& existing = heap_.Items(container);
  existing.insert(existing.end(), items->begin(), items->end());
  return {};
}

Status Machine::PushGlobal() {
  ASSIGN_OR_RETURN(const std::string_view module, TakeLine());
  ASSIGN_OR_RETURN(const std::string_view name, TakeLine());
  return Push(environment_.FindGlobal(module, name));
}

Status Machine::Call() {
  ASSIGN_OR_RETURN(const PickleValue arguments, TopOf(Kind::kTuple));
  stack_.pop_back();
  ASSIGN_OR_RETURN(const PickleValue callable, TopOf(Kind::kObject));
  stack_.pop_back();
  // The call may add containers to the heap, which leaves the items of this one where they are.
  return Push(environment_.Call(callable, heap_.Items(arguments), heap_));
}

// torch gives state dicts an attribute, `_metadata`, with the versions of modules: nothing that we
// use.
Status Machine::SetState() {
  ASSIGN_OR_RETURN(const PickleValue state, Pop());
  if (state.kind != Kind::kDict || Available() == 0 || stack_.back().kind != Kind::kDict) {
    return Fail(ErrorCode::kPermission, "opcode BUILD for something else than a dict's attributes");
  }
  return {};
}

Status Machine::Number(uint8_t opcode) {
  PickleValue value{.kind = Kind::kInt};
  if (opcode == kBinInt) {
    ASSIGN_OR_RETURN(value.number, TakeNumber<int32_t>());
  } else if (opcode == kBinInt1) {
    ASSIGN_OR_RETURN(value.number, TakeNumber<uint8_t>());
  } else if (opcode == kBinInt2) {
    ASSIGN_OR_RETURN(value.number, TakeNumber<uint16_t>());
  } else {  // kLong1: little-endian, two's complement, as long as it says
    ASSIGN_OR_RETURN(const uint8_t count, TakeNumber<uint8_t>());
    ASSIGN_OR_RETURN(const std::string_view bytes, Take(count));
    if (count > sizeof(value.number)) return Malformed("an integer of more than 64 bits");
    std::memcpy(&value.number, bytes.data(), count);
    if (count > 0 && count < sizeof(value.number) && (bytes.back() & 0x80) != 0) {
      value.number -= int64_t{1} << (8 * count);
    }
  }
  stack_.push_back(value);
  return {};
}

Status Machine::Memo(uint8_t opcode) {
  uint32_t key;
  if (opcode == kBinPut || opcode == kBinGet) {
    ASSIGN_OR_RETURN(key, TakeNumber<uint8_t>());
  } else {
    ASSIGN_OR_RETURN(key, TakeNumber<uint32_t>());
  }
  if (opcode == kBinPut || opcode == kLongBinPut) {
    if (Available() == 0) return Malformed("takes from an empty stack");
    memo_[key] = stack_.back();
    return {};
  }
  const auto found = memo_.find(key);
  if (found == memo_.end()) return Malformed(fmt::format("nothing was kept as number {}", key));
  stack_.push_back(found->second);
  return {};
}

Status Machine::Construct(uint8_t opcode) {
  switch (opcode) {
    case kNoneOp:
      return Push(PickleValue{});
    case kNewTrue:
    case kNewFalse:
      return Push(PickleValue{.kind = Kind::kBool, .number = opcode == kNewTrue});
    case kBinUnicode: {
      ASSIGN_OR_RETURN(const uint32_t count, TakeNumber<uint32_t>());
      ASSIGN_OR_RETURN(const std::string_view text, Take(count));
      return Push(PickleValue{.kind = Kind::kText, .text = text});
    }
    case kEmptyTuple:
      return PushTuple(std::vector<PickleValue>());
    case kTuple1:
    case kTuple2:
    case kTuple3:
      return PushTuple(PopMany(opcode - kTuple1 + 1));
    case kTupleOp:
      return PushTuple(PopToMark());
    case kEmptyList:
      return Push(heap_.New(Kind::kList, {}));
    case kEmptyDict:
      return Push(heap_.New(Kind::kDict, {}));
    case kAppend:
      return Extend(Kind::kList, PopMany(1));
    case kAppends:
      return Extend(Kind::kList, PopToMark());
    case kSetItem:
      return Extend(Kind::kDict, PopMany(2));
    case kSetItems:
      return Extend(Kind::kDict, PopToMark());
    case kGlobal:
      return PushGlobal();
    case kReduce:
      return Call();
    case kBuild:
      return SetState();
    case kBinPersId: {
      ASSIGN_OR_RETURN(const PickleValue id, Pop());
      return Push(environment_.LoadPersistent(id, heap_));
    }
    default:
      return Fail(ErrorCode::kPermission,
                  fmt::format("opcode {} ({:#04x}), which is not among those that weights are "
                              "saved with; nothing was run",
                              OpcodeName(opcode), opcode));
  }
}

Result<bool> Machine::Step() {
  ASSIGN_OR_RETURN(const uint8_t opcode, TakeNumber<uint8_t>());
  switch (opcode) {
    case kProto: {
      ASSIGN_OR_RETURN(const uint8_t protocol, TakeNumber<uint8_t>());
      if (protocol == kProtocol) return false;
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("pickle protocol {}; torch.save writes {}", protocol, kProtocol));
    }
    case kMark:
      marks_.push_back(stack_.size());
      return false;
    case kStop:
      if (!marks_.empty() || stack_.size() != 1) return Malformed("stops with its work undone");
      return true;
    case kBinInt:
    case kBinInt1:
    case kBinInt2:
    case kLong1:
      RETURN_IF_ERROR(Number(opcode));
      return false;
    case kBinPut:
    case kLongBinPut:
    case kBinGet:
    case kLongBinGet:
      RETURN_IF_ERROR(Memo(opcode));
      return false;
    default:
      RETURN_IF_ERROR(Construct(opcode));
      return false;
  }
}

}  // namespace

std::string_view PickleKindName(PickleValue::Kind kind) {
  constexpr std::array<std::string_view, 8> kNames = {
      "None", "a boolean", "an integer", "a text", "a tuple", "a list", "a dict", "an object"};
  return kNames[static_cast<size_t>(kind)];
}

PickleValue PickleHeap::New(PickleValue::Kind kind, std::vector<PickleValue> items) {
  containers_.push_back(std::move(items));
  return {.kind = kind, .number = static_cast<int64_t>(containers_.size() - 1)};
}

std::vector<PickleValue>& PickleHeap::Items(const PickleValue& container) {
  CHECK(container.kind == Kind::kTuple || container.kind == Kind::kList ||
        container.kind == Kind::kDict);
  return containers_[static_cast<size_t>(container.number)];
}

const std::vector<PickleValue>& PickleHeap::Items(const PickleValue& container) const {
  return const_cast<PickleHeap*>(this)->Items(container);
}

Result<PickleResult> ReadPickle(std::span<const std::byte> pickle, PickleEnvironment& environment,
                                PickleHeap& heap) {
  return Machine(pickle, environment, heap).Run();
}

}  // namespace lorry::formats
