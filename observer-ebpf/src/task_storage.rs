//! A value at each task (`BPF_MAP_TYPE_TASK_STORAGE`), which aya-ebpf does not have.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get},
};

/// The map's definition as the loader reads it out of BTF: an integer is the length of an array's type.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers are never followed; the kernel guards each task's value.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// The definition.
    pub const fn new() -> Self {
        use core::ptr::null;
        TaskStorage { r#type: null(), key: null(), value: null(), max_entries: null(), map_flags: null() }
    }

    /// The current task's value, if it has one.
    #[inline(always)]
    pub fn of_current(&self) -> Option<&'static mut T> {
        self.get(0)
    }

    /// The current task's value, all zeros at first; `None` when the kernel has no memory.
    #[inline(always)]
    pub fn of_current_or_new(&self) -> Option<&'static mut T> {
        self.get(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn get(&self, flags: u64) -> Option<&'static mut T> {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the current task is there as long as the program runs; the verifier knows the result as a `T` or null.
        unsafe {
            let task = bpf_get_current_task_btf();
            bpf_task_storage_get(map.cast(), task.cast(), core::ptr::null_mut(), flags).cast::<T>().as_mut()
        }
    }
}
