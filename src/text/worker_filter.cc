#include "text/worker_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lorry::text {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

// What the C library and Rust's need for memory, threads, locks, time and their own ends. Whatever
// was forgotten fails softly.
constexpr uint32_t kAllowed[] = {
    SYS_read,
    SYS_write,
    SYS_sendto,
    SYS_recvfrom,
    SYS_ppoll,
    SYS_pread64,
    SYS_close,
    SYS_fstat,
    SYS_lseek,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_gettid,
    SYS_getpid,
    SYS_restart_syscall,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_sysinfo,
    SYS_membarrier,
    SYS_prctl,
#if defined(__x86_64__)
    SYS_poll,
    SYS_time,
#endif
};

constexpr uint32_t Data(size_t offset) { return static_cast<uint32_t>(offset); }

constexpr uint32_t ArgumentAt(int number) {  // its low half
  return Data(offsetof(seccomp_data, args)) + static_cast<uint32_t>(number) * 8;
}

class Program {
 public:
  Program() {
    Load(Data(offsetof(seccomp_data, arch)));
    ReturnUnless(kArchitecture, SECCOMP_RET_ERRNO | EPERM);
    LoadNumber();
  }

  void Allow(uint32_t call) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
    Return(SECCOMP_RET_ALLOW);
  }

  void Fail(uint32_t call, uint32_t error) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
    Return(SECCOMP_RET_ERRNO | error);
  }

  // Only where all of these bits are set in an argument.
  void AllowWithBits(uint32_t call, int argument, uint32_t bits) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4);
    Load(ArgumentAt(argument));
    Add(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    Return(SECCOMP_RET_ALLOW);
    Return(SECCOMP_RET_ERRNO | EPERM);
  }

  // Only with this value of an argument.
  void AllowWith(uint32_t call, int argument, uint32_t value) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4);
    Load(ArgumentAt(argument));
    Add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    Return(SECCOMP_RET_ALLOW);
    Return(SECCOMP_RET_ERRNO | EPERM);
  }

  bool Install() {
    Return(SECCOMP_RET_ERRNO | EPERM);
    const sock_fprog program = {static_cast<unsigned short>(code_.size()), code_.data()};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

 private:
  void Add(uint16_t code, uint32_t value, uint8_t if_true = 0, uint8_t if_false = 0) {
    code_.push_back({code, if_true, if_false, value});
  }
  void Load(uint32_t offset) { Add(BPF_LD | BPF_W | BPF_ABS, offset); }
  void LoadNumber() { Load(Data(offsetof(seccomp_data, nr))); }
  void Return(uint32_t action) { Add(BPF_RET | BPF_K, action); }
  void ReturnUnless(uint32_t value, uint32_t action) {
    Add(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    Return(action);
  }

  std::vector<sock_filter> code_;
};

}  // namespace

bool AllowOnlyWorkersCalls() {
  constexpr uint32_t kThread = 0x00010000;  // CLONE_THREAD
  Program program;
  for (const uint32_t call : kAllowed) program.Allow(call);
  program.Fail(SYS_clone3, ENOSYS);  // its flags lie in memory; the C library takes clone then
  program.AllowWithBits(SYS_clone, 0, kThread);
  program.AllowWith(SYS_prlimit64, 0, 0);  // its own limits
  program.AllowWith(SYS_tgkill, 0, static_cast<uint32_t>(getpid()));
  return program.Install();
}

}  // namespace lorry::text
