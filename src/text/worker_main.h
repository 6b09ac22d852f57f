// The program of a text worker: a process that runs the tokenizers and chat templates that adapters
// bring, so that nothing that these do can reach the server.
// Owns: the tokenizers and templates that the server has sent.
// Thread: the process's first, and one that waits for the server's end.
// Never: opens a file, or takes more memory or time than the server gives to a call.
#pragma once

namespace lorry::text {

// Answers on the socket that ChildProcess gives, until the server closes it. The exit status.
int RunTextWorker();

}  // namespace lorry::text
