// Which build of the kernels runs: the best this processor and its operating system allow, or the one asked
// for.
#pragma once
#include "kernels.h"

namespace octavo {

// `forced` names a build; null or empty takes the best. Null when this library does not hold the build or
// this machine cannot run it. Must be called before the threads that compute are started: AMX is granted to a
// process on request.
const KernelTable *select_kernels(const char *forced);

// The builds that can run here, best first; null past the last.
const char *available_kernels(int index);

} // namespace octavo
