//! The processor's cycle counter.
//!
//! What must always hold: [`usable`] says yes only where the counter runs at one rate in all
//! power states (CPUID) *and* the kernel found it in step over all cores (it keeps time with it
//! itself and goes on watching it). The instructions alone promise neither.
#![allow(unsafe_code, reason = "island: instructions that read the cycle counter")]

/// Whether the counter can serve as a clock over all cores of this machine.
pub(crate) fn usable() -> bool {
    is_invariant() && kernel_keeps_time_with_it()
}

fn kernel_keeps_time_with_it() -> bool {
    std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .is_ok_and(|name| name.trim() == "tsc")
}

#[cfg(target_arch = "x86_64")]
fn is_invariant() -> bool {
    use core::arch::x86_64::__cpuid;
    // "Advanced power management": leaf 8000_0007h, EDX bit 8 is TscInvariant (AMD APM vol. 3,
    // E.4.6; Intel SDM vol. 2A, CPUID).
    const LEAF: u32 = 0x8000_0007;
    __cpuid(0x8000_0000).eax >= LEAF && __cpuid(LEAF).edx & (1 << 8) != 0
}

/// The counter, now. The processor may run this instruction before older loads have finished.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn read() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 and touches no memory. Where the kernel forbids it
    // to user code (PR_SET_TSC) it faults instead of lying; `usable` would not have been asked.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The counter after all older loads have finished.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn read_fenced() -> u64 {
    // SAFETY: LFENCE exists on every x86-64 (SSE2) and only orders.
    unsafe { core::arch::x86_64::_mm_lfence() };
    read()
}

#[cfg(not(target_arch = "x86_64"))]
fn is_invariant() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read() -> u64 {
    unreachable!("only asked where `usable` said yes")
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read_fenced() -> u64 {
    read()
}
