// Pickles and zips whose makers meant harm.
#include <gmock/gmock.h>

#include "base/testing/source_dir.h"
#include "formats/test_files.h"
#include "formats/torch_file.h"
#include "formats/torch_file_testing.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;
using namespace pickle;  // NOLINT: the opcodes

class HostileTorchFile : public ::testing::Test {
 protected:
  // "" if it was read.
  std::string Refusal(const std::string& file, const TorchFileLimits& limits = {}) {
    const Result<TorchFile> result = TorchFile::Open(dir_.Write("file", file), limits);
    code_ = result ? ErrorCode::kInternal : result.error().code;
    return result ? "" : result.error().message;
  }
  std::string RefusalOf(const std::string& value) {
    return Refusal(TorchZip(Whole(value), kStorage));
  }
  std::string RefusalOfTensor(const std::string& tensor) {
    return RefusalOf(Dict({{"w", tensor}}));
  }

  const std::string kStorage = std::string(24, 's');  // six floats
  TempDir dir_;
  ErrorCode code_ = ErrorCode::kInternal;
};

TEST_F(HostileTorchFile, TheTestsOwnFilesAreReadWhenTheyAreRight) {
  EXPECT_EQ(RefusalOfTensor(Tensor(Storage(6), 0, {2, 3}, {3, 1})), "");
  EXPECT_EQ(RefusalOfTensor(Tensor(Storage(6), 1, {2, 2}, {3, 1})), "");
  EXPECT_EQ(RefusalOfTensor(Call(Global("torch._utils", "_rebuild_parameter"),
                                 {Tensor(Storage(6), 0, {6}, {1}), kFalse, kHooks})),
            "");
}

TEST_F(HostileTorchFile, NamesOfCode) {
  const std::pair<const char*, const char*> kGlobals[] = {
      {"os", "system"},
      {"posix", "system"},
      {"builtins", "eval"},
      {"builtins", "getattr"},
      {"subprocess", "Popen"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"collections", "deque"},
      {"torch._utils", "_rebuild_tensor"},
      {"", ""},
      {"collections", "OrderedDict.fromkeys"},
  };
  for (const auto& [module, name] : kGlobals) {
    const std::string refusal = RefusalOf(Call(Global(module, name), {Text("true")}));
    EXPECT_EQ(code_, ErrorCode::kPermission) << module << name;
    EXPECT_THAT(refusal, HasSubstr(fmt::format("names \"{}.{}\"", module, name)));
    EXPECT_THAT(refusal, HasSubstr("nothing was run"));
  }
}

TEST_F(HostileTorchFile, OpcodesOtherThanTheFew) {
  const std::pair<std::string, const char*> kPickles[] = {
      {"(ios\nsystem\n", "INST"},
      {"(" + Global("collections", "OrderedDict") + "o", "OBJ"},
      {Global("collections", "OrderedDict") + ")\x81", "NEWOBJ"},
      {Global("collections", "OrderedDict") + ")}\x92", "NEWOBJ_EX"},
      {std::string("\x82\x01", 2), "EXT1"},
      {std::string("\x83\x01\x00", 3), "EXT2"},
      {std::string("\x84\x01\x00\x00\x00", 5), "EXT4"},
      {"P0\n", "PERSID"},
      {Text("os") + Text("system") + "\x93", "STACK_GLOBAL"},
      {"S'a'\n", "STRING"},
      {"\x97", "NEXT_BUFFER"},
      {"\xff", "unknown (0xff)"},
  };
  for (const auto& [pickle, name] : kPickles) {
    EXPECT_THAT(RefusalOf(pickle), HasSubstr(fmt::format("opcode {}", name)));
    EXPECT_EQ(code_, ErrorCode::kPermission) << name;
  }
}

TEST_F(HostileTorchFile, StateForOtherThanADict) {
  const std::string tensor = Tensor(Storage(6), 0, {6}, {1});
  for (const std::string& value :
       {tensor + "}b", Global("collections", "OrderedDict") + "}b", kHooks + "Nb",
        kHooks + Tuple({"}", "}"}) + "b", "]" + Dict({}) + "b"}) {
    EXPECT_THAT(RefusalOf(value), HasSubstr("opcode BUILD"));
    EXPECT_EQ(code_, ErrorCode::kPermission);
  }
}

TEST_F(HostileTorchFile, CallsOfWhatIsNoFunction) {
  for (const std::string& callable :
       {Global("torch", "FloatStorage"), Storage(6), Tensor(Storage(6), 0, {6}, {1})}) {
    EXPECT_THAT(RefusalOf(Call(callable, {})), HasSubstr("calls what is not"));
  }
  EXPECT_THAT(RefusalOf(Call(Text("os.system"), {})), HasSubstr("a text where an object"));
  EXPECT_THAT(RefusalOf(Global("collections", "OrderedDict") + "NR"), HasSubstr("None where"));
  EXPECT_THAT(RefusalOf(Call(Global("collections", "OrderedDict"), {kNone})),
              HasSubstr("OrderedDict is called with arguments"));
}

TEST_F(HostileTorchFile, PersistentIdsOfOddShape) {
  const std::string type = Global("torch", "FloatStorage");
  for (const std::string& id :
       {kNone, Text("storage"), Tuple({}), Tuple({Text("storage")}),
        Tuple({Text("module"), type, Text("0"), Text("cpu"), Int(6)}),
        Tuple({Text("storage"), Text("FloatStorage"), Text("0"), Text("cpu"), Int(6)}),
        Tuple({Text("storage"), Global("collections", "OrderedDict"), Text("0"), Text("cpu"),
               Int(6)}),
        Tuple({Text("storage"), type, Int(0), Text("cpu"), Int(6)}),
        Tuple({Text("storage"), type, Text("0"), Text("cpu"), Text("6")}),
        Tuple({Text("storage"), type, Text("0"), Text("cpu"), Int(6), Tuple({})}),
        Tuple({Text("storage"), type, Text("0"), Text("cpu"), Int(6), kNone, kNone})}) {
    EXPECT_THAT(RefusalOfTensor(Tensor(id + "Q", 0, {6}, {1})), HasSubstr("a persistent id"));
  }
}

TEST_F(HostileTorchFile, StoragesThatAreNotWhatTheyAreSaidToBe) {
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(7), 0, {6}, {1})), HasSubstr("has 24 bytes"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(5), 0, {5}, {1})), HasSubstr("has 24 bytes"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(-6), 0, {6}, {1})), HasSubstr("storage of -6"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(INT64_MAX), 0, {6}, {1})), HasSubstr("a storage of"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6, "FloatStorage", "1"), 0, {6}, {1})),
              HasSubstr("\"1\" is missing"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6, "FloatStorage", "../data/0"), 0, {6}, {1})),
              HasSubstr("is missing"));
  EXPECT_THAT(RefusalOf(Dict({{"a", Tensor(Storage(6), 0, {6}, {1})},
                              {"b", Tensor(Storage(12, "HalfStorage"), 0, {12}, {1})}})),
              HasSubstr("spoken of in two ways"));
}

TEST_F(HostileTorchFile, TensorsBeyondTheirStorage) {
  const int64_t huge = INT64_MAX;
  const struct {
    int64_t offset;
    std::vector<int64_t> shape, strides;
  } kOutside[] = {
      {0, {7}, {1}},    {1, {6}, {1}},
      {7, {0}, {1}},    {huge, {1}, {1}},
      {0, {2}, {huge}}, {0, {3, 3}, {huge, huge}},
      {0, {huge}, {1}}, {0, {huge, huge}, {0, 0}},
      {6, {}, {}},      {0, {2, 3}, {3}},
      {0, {2}, {3, 1}}, {0, {int64_t{1} << 62}, {4}},
  };
  for (const auto& c : kOutside) {
    EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6), c.offset, c.shape, c.strides)),
                HasSubstr("lies outside its storage of 6"));
    EXPECT_EQ(code_, ErrorCode::kDataLoss);
  }
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6), -1, {1}, {1})), HasSubstr("before its storage"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6), 0, {-1}, {1})), HasSubstr("negative"));
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6), 5, {2}, {-1})), HasSubstr("negative"));
  EXPECT_THAT(RefusalOfTensor(
                  Tensor(Storage(6), 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1))),
              HasSubstr("65 dimensions"));
}

TEST_F(HostileTorchFile, ArgumentsOfOtherKinds) {
  const std::string rebuild = Global("torch._utils", "_rebuild_tensor_v2");
  const std::string storage = Storage(6);
  for (const std::string& call :
       {Call(rebuild, {}), Call(rebuild, {storage, Int(0), Ints({6}), Ints({1}), kFalse}),
        Call(rebuild, {kNone, Int(0), Ints({6}), Ints({1}), kFalse, kHooks}),
        Call(rebuild, {storage, kNone, Ints({6}), Ints({1}), kFalse, kHooks}),
        Call(rebuild, {storage, Int(0), Ints({6}), Ints({1}), kFalse, Dict({{"f", kNone}})})}) {
    EXPECT_THAT(RefusalOfTensor(call), HasSubstr("arguments not its own"));
  }
  EXPECT_THAT(RefusalOfTensor(Call(rebuild, {storage, Int(0), Int(6), Ints({1}), kFalse, kHooks})),
              HasSubstr("a shape is an integer"));
  EXPECT_THAT(RefusalOfTensor(Call(rebuild, {storage, Int(0), Ints({6}), Ints({1}), kFalse, kHooks,
                                             Dict({{"neg", "\x88"}})})),
              HasSubstr("metadata of its own"));
}

TEST_F(HostileTorchFile, ViewsThatRepeatAStorageWithoutEnd) {
  EXPECT_THAT(RefusalOfTensor(Tensor(Storage(6), 0, {1'000'000, 1'000'000}, {0, 0})),
              HasSubstr("more than 67108864 bytes"));
  EXPECT_EQ(code_, ErrorCode::kTooLarge);
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 100; ++i) {
    many.emplace_back(std::to_string(i), Tensor(Storage(6), 0, {1'000'000}, {0}));
  }
  EXPECT_THAT(RefusalOf(Dict(many)), HasSubstr("more than 67108864 bytes"));
  EXPECT_THAT(Refusal(TorchZip(Whole(Dict({{"w", Tensor(Storage(6), 0, {6}, {1})}})), kStorage),
                      {.max_bytes = 23}),
              HasSubstr("more than 23 bytes"));
}

TEST_F(HostileTorchFile, NamesThatStandThereTwice) {
  const std::string tensor = Tensor(Storage(6), 0, {6}, {1});
  EXPECT_THAT(RefusalOf(Dict({{"w", tensor}, {"v", tensor}, {"w", tensor}})),
              HasSubstr("\"w\" stands there twice"));
  EXPECT_THAT(RefusalOf("}(" + Int(1) + tensor + "u"),
              HasSubstr("a key of the dict is an integer"));
}

TEST_F(HostileTorchFile, NamesThatAreNotUtf8DoNotBecomeAFile) {
  const std::string file =
      TorchZip(Whole(Dict({{"\xff\xfe", Tensor(Storage(6), 0, {6}, {1})}})), kStorage);
  const Status converted = ConvertTorchFile(dir_.Write("file", file), dir_.Path("out"));
  ASSERT_FALSE(converted);
  EXPECT_THAT(converted.error().message, HasSubstr("not valid JSON"));
  EXPECT_FALSE(std::filesystem::exists(dir_.Path("out")));
}

// Structures whose size on paper is exponential, or that contain themselves.
TEST_F(HostileTorchFile, MemoBombs) {
  std::string doubled = ")";
  for (int i = 0; i < 1000; ++i) doubled += std::string("q\0h\0\x86", 5);
  EXPECT_THAT(RefusalOf(doubled), HasSubstr("holds a tuple"));

  std::string deep = ")";
  for (int i = 0; i < 1'000'000; ++i) deep += "\x85";
  EXPECT_THAT(RefusalOf(deep), HasSubstr("holds a tuple"));

  EXPECT_THAT(RefusalOf(std::string("]q\0h\0a", 6)), HasSubstr("holds a list"));
  EXPECT_THAT(RefusalOf("}q\1" + Text("self") + "h\1s"), HasSubstr("\"self\" is"));
  EXPECT_THAT(RefusalOf("j\xff\xff\xff\xff"), HasSubstr("nothing was kept as number 4294967295"));
  EXPECT_THAT(RefusalOf("Nr\xff\xff\xff\xff"), HasSubstr("holds None"));
  EXPECT_THAT(RefusalOf(std::string(5'000'000, 'N')), HasSubstr("more than 4000000 steps"));
  EXPECT_THAT(RefusalOf(std::string(5'000'000, '(')), HasSubstr("more than 4000000 steps"));
}

TEST_F(HostileTorchFile, AStackThatDoesNotHoldWhatIsTaken) {
  for (const char* pickle :
       {"",     "\x85", "N\x86", "t", "R",  ")R",     "a",   "]a", "e",  "s",  "}Ns", "u",
        "}(Nu", "b",    "Q",     "q", "(q", "(N\x86", "N(e", "(",  "(.", "NN", "u",   "N(\x85"}) {
    EXPECT_NE(RefusalOf(pickle), "") << pickle;
    EXPECT_TRUE(code_ == ErrorCode::kDataLoss || code_ == ErrorCode::kPermission) << pickle;
  }
}

TEST_F(HostileTorchFile, PicklesThatEndEarly) {
  const std::string whole = Whole(Dict({{"w", Tensor(Storage(6), 0, {2, 3}, {3, 1})}}));
  for (size_t kept = 0; kept < whole.size(); ++kept) {
    EXPECT_NE(Refusal(TorchZip(whole.substr(0, kept), kStorage)), "") << kept;
  }
  EXPECT_THAT(RefusalOf("X\xff\xff\xff\xff"), HasSubstr("cut short"));
  EXPECT_THAT(RefusalOf("\x8a\xff"), HasSubstr("cut short"));
  EXPECT_THAT(RefusalOf("\x8a\x09" + std::string(9, '\1')), HasSubstr("more than 64 bits"));
}

TEST_F(HostileTorchFile, ZipsThatAreNotAsTorchSavesThem) {
  const std::string pickle = Whole(Dict({{"w", Tensor(Storage(6), 0, {6}, {1})}}));
  EXPECT_THAT(Refusal(StoredZip({{"x/data/0", kStorage}})), HasSubstr("without data.pkl"));
  EXPECT_THAT(Refusal(StoredZip({{"x/data.pkl", pickle}, {"y/data.pkl", pickle}})),
              HasSubstr("data.pkl stands in the zip twice"));
  EXPECT_THAT(Refusal(StoredZip({{"x/data.pkl", pickle}, {"x/data.pkl", pickle}})),
              HasSubstr("stands in the zip twice"));
  EXPECT_THAT(Refusal(StoredZip({{"x/data.pkl", pickle}, {"x/byteorder", "big"}})),
              HasSubstr("another byte order"));
  EXPECT_THAT(Refusal(RawZip("x/data.pkl", Deflate(pickle, -15), 10, 0)),
              HasSubstr("is compressed"));
  EXPECT_THAT(Refusal(RawZip("x/data.pkl", pickle, 10, 0, 1)), HasSubstr("is encrypted"));
}

// Every byte of the zip's own structure at its worst: an error or the same content, no crash.
TEST_F(HostileTorchFile, ZipsWithAnyByteChanged) {
  const std::string whole =
      TorchZip(Whole(Dict({{"w", Tensor(Storage(6), 0, {6}, {1})}})), kStorage);
  size_t num_refused = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\x00', '\x7f', '\xff'}) {
      std::string damaged = whole;
      damaged[at] = value;
      num_refused += Refusal(damaged).empty() ? 0 : 1;
    }
  }
  EXPECT_GT(num_refused, whole.size());
}

TEST_F(HostileTorchFile, TheOldFormCutChangedAndExtended) {
  const std::string whole = ReadWhole(SourcePath("tests/data/torch/plain.legacy.bin"));
  EXPECT_EQ(Refusal(whole), "");
  EXPECT_THAT(Refusal(whole + "x"), HasSubstr("1 bytes follow the last storage"));
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    Refusal(damaged);  // must come back
  }
}

}  // namespace
}  // namespace lorry::formats
